package relay

import (
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/media/relay/internal/relaypb"
)

// recorder is a socket that notes when which frame went out.
type recorder struct {
	socket
	mu     sync.Mutex
	frames []sentFrame // guarded by mu
}

type sentFrame struct {
	after time.Duration
	h     header
	frame []byte
}

func (s *recorder) burst() burst                 { return &recorded{to: s} }
func (s *recorder) sent() (frames, bytes uint64) { return 0, 0 }

type recorded struct {
	to   *recorder
	room [maxFrame + nonceLen]byte
}

func (b *recorded) Room(size int) []byte { return b.room[:size] }
func (b *recorded) Flush() int           { return 0 }
func (b *recorded) Release()             {}

func (b *recorded) Add(_ netip.AddrPort, n int) {
	h, _ := parseHeader(b.room[:n])
	b.to.mu.Lock()
	defer b.to.mu.Unlock()
	b.to.frames = append(b.to.frames, sentFrame{after: time.Since(began), h: h, frame: slices.Clone(b.room[:n])})
}

// began is the time at which the clock of every synctest bubble starts.
var began = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func (s *recorder) take() []sentFrame {
	s.mu.Lock()
	defer s.mu.Unlock()
	sent := s.frames
	s.frames = nil
	return sent
}

func TestKeyframeRequestsAreMergedAtTheSender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _, out := fuzzManager(t)
		l := newFakeLocal(publication("self", "alice"))
		a, err := l.Attach(1, 1, out.out)
		if err != nil {
			t.Fatal(err)
		}
		out.out.attachment = a
		f := out.out.flow
		f.layers = []*outLayer{out.out}
		f.ended, f.detached = make(chan struct{}), make(chan struct{})
		go f.control()
		for i, wait := range []int{30, 30, 300, 0} { // three copies, and a new request
			f.demand(demand{layer: out.out})
			synctest.Wait()
			if want := 1 + i/3; l.keyframes(1, 1) != want {
				t.Errorf("after request %d the publisher was asked %d times, want %d", i, l.keyframes(1, 1), want)
			}
			time.Sleep(time.Duration(wait) * time.Millisecond) // of the bubble
		}
		f.end(relaypb.Reason_REASON_GONE)
		<-f.detached
		if l.users() != 0 {
			t.Error("still attached")
		}
		for range demandQueue + 1 {
			f.demand(demand{layer: out.out}) // nobody takes them
		}
		if n := m.stats.drops[dropDemand].Load(); n != 1 {
			t.Errorf("%d requests dropped", n)
		}
	})
}

func TestRequestsGoOutWhenTheyAreDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sock := &recorder{}
		m, err := newManager("", sock, (&testNode{id: "listener"}).deps())
		if err != nil {
			t.Fatal(err)
		}
		defer m.stop()
		_, aead, err := newKey()
		if err != nil {
			t.Fatal(err)
		}
		l := &link{peer: "edge", out: aead, outEpoch: 77}
		if err := m.table.add(l); err != nil {
			t.Fatal(err)
		}
		p := newPull(m, publication("edge", "alice"), l, netip.AddrPort{})
		p.cancel = func() {}
		if !m.table.reserve(l, p.ports) {
			t.Fatal("no ports")
		}
		p.tasks.Go(p.ask)
		layer := p.ports[2].in
		take := func(seq uint16) {
			packet := testPacket(&m.packets, seq, 100)
			packet.Arrival = time.Now()
			layer.take(packet)
			layer.deliver()
		}
		for _, seq := range []uint16{1, 2, 4, 7} {
			take(seq)
		}
		layer.Keyframe()
		layer.Keyframe()
		synctest.Wait()
		time.Sleep(200 * time.Millisecond) // of the bubble
		var nonce [nonceLen]byte
		var keyframes, nacks []time.Duration
		for i, f := range sock.take() {
			if f.h.stream != p.ports[2].stream || f.h.epoch != 77 || f.h.counter != uint64(i+1) {
				t.Errorf("frame %+v", f.h)
			}
			plain, err := open(nil, aead, &nonce, f.h, f.frame)
			if err != nil {
				t.Fatal(err)
			}
			switch f.h.kind {
			case kindKeyframe:
				keyframes = append(keyframes, f.after)
			case kindNACK:
				nacks = append(nacks, f.after)
				if got := parseNACK(plain); !slices.Equal(got, []uint16{3, 5, 6}) {
					t.Errorf("asked for %v", got)
				}
			}
		}
		ms := time.Millisecond
		if want := []time.Duration{0, 30 * ms, 60 * ms}; !slices.Equal(keyframes, want) {
			t.Errorf("keyframe asked for after %v, want %v", keyframes, want)
		}
		if want := []time.Duration{8 * ms, 58 * ms, 158 * ms}; !slices.Equal(nacks, want) {
			t.Errorf("packets asked for after %v, want %v", nacks, want)
		}
		for _, seq := range []uint16{3, 5, 6} {
			take(seq)
		}
		time.Sleep(time.Hour) // of the bubble
		if late := sock.take(); len(late) != 0 {
			t.Errorf("%d frames although nothing is missing", len(late))
		}
		p.finish(ErrClosed)
		p.tasks.Wait()
		if n, err := layer.Read(make([]*media.Packet, 64)); n != 7 || err != nil {
			t.Errorf("read %d packets, %v", n, err)
		}
	})
}
