package relay

import (
	"net/netip"
	"testing"

	"github.com/talkd/talkd/media"
)

// fuzzManager has one stream as receiver and one as sender under known keys.
func fuzzManager(t testing.TB) (m *Manager, in, out *port) {
	m, err := newManager("", &recorder{}, (&testNode{id: "self"}).deps())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.stop)
	aead := testAEAD(t)
	media, feedback := &link{peer: "edge", in: aead, out: aead, inEpoch: 1}, &link{peer: "listener", in: aead, out: aead, inEpoch: 2}
	for _, l := range []*link{media, feedback} {
		if err := m.table.add(l); err != nil {
			t.Fatal(err)
		}
	}
	p := newPull(m, publication("edge", "alice"), media, netip.AddrPort{})
	if !m.table.reserve(media, p.ports) {
		t.Fatal("no ports")
	}
	f := &flow{m: m, link: feedback, demands: make(chan demand, demandQueue)}
	out = &port{link: feedback}
	out.out = &outLayer{m: m, flow: f, port: out}
	if !m.table.take(feedback, 1, []*port{out}) {
		t.Fatal("no port")
	}
	return m, p.ports[0], out
}

// FuzzReceive gives datagrams of anybody.
func FuzzReceive(f *testing.F) {
	aead := testAEAD(f)
	for _, h := range []header{
		{kind: kindRTP, epoch: 1, stream: 1, counter: 1}, {kind: kindNACK, epoch: 2, stream: 1, counter: 1},
		{kind: kindKeyframe, epoch: 2, stream: 1, counter: 1 << 63}, {kind: kindRTP, epoch: 2, stream: 1, counter: 1},
	} {
		f.Add(seal(nil, aead, new([nonceLen]byte), h, []byte{0x80, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1}))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		m, _, _ := fuzzManager(t)
		in := &intake{m: m}
		in.receive(frame)
		in.receive(frame)
		in.end()
		if in := m.Totals().PacketsIn; in > 1 {
			t.Error("a frame was taken twice")
		}
	})
}

// FuzzPayload gives what another node of the cluster sealed.
func FuzzPayload(f *testing.F) {
	f.Add(byte(kindRTP), uint64(1), []byte{0x80, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1})
	f.Add(byte(kindRTP), uint64(1)<<63, []byte{0xbf, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1})
	f.Add(byte(kindNACK), uint64(2), []byte{0, 1, 0, 2})
	f.Add(byte(kindKeyframe), uint64(3), []byte{})
	f.Fuzz(func(t *testing.T, k byte, counter uint64, payload []byte) {
		if len(payload) > media.MaxPacket {
			return
		}
		m, in, out := fuzzManager(t)
		to := out
		if kind(k) == kindRTP {
			to = in
		}
		intake := &intake{m: m}
		h := header{kind: kind(k), epoch: to.link.inEpoch, stream: to.stream, counter: counter}
		intake.receive(seal(nil, to.link.in, new([nonceLen]byte), h, payload))
		intake.end()
		to.lost()
	})
}
