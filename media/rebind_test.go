package media

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"github.com/talkd/talkd/store"
)

// twoNodes is a subscriber's track while its sender goes from one node to
// another: the same microphone and camera come by two feeds, whose numbers have
// nothing to do with each other. Time is that of the packets.
type twoNodes struct {
	t     *testing.T
	pool  Pool
	track *downTrack
	feeds [2]*feed
	asked [2]*pushed
	next  [2]rtp.Header
	sent  []sentPacket
	start time.Time
}

// sentPacket is what the subscriber got: Content says at what time of the
// sender it was recorded, and of which feed it is.
type sentPacket struct {
	rtp.Header
	feed    int
	content time.Duration
}

func newTwoNodes(t *testing.T, kind string, layers int) *twoNodes {
	n := &twoNodes{t: t, start: time.Now()}
	info := TrackInfo{Kind: kind, Codec: Codec{MimeType: "audio/opus", ClockRate: 48000, Channels: 2}}
	if kind == Video {
		info.Codec = Codec{MimeType: "video/VP8", ClockRate: 90000}
	}
	for i := range layers {
		info.Layers = append(info.Layers, LayerInfo{Index: uint8(i)})
	}
	in := &group{}
	for i := range n.feeds {
		pub := Publication{
			ID:   PubID{Session: "s", Incarnation: uint32(i) + 1, Kind: KindVideo, Generation: 1},
			Edge: store.NodeID([]string{"n1", "n2"}[i]), Tracks: []TrackInfo{info},
		}
		n.feeds[i], n.asked[i] = newFeed(pub, in, unused()), &pushed{}
		for _, l := range n.feeds[i].layers[0] {
			l.up.Store(&uplink{feedback: n.asked[i]})
		}
		n.next[i] = rtp.Header{SequenceNumber: uint16(rand.Uint32()), Timestamp: rand.Uint32()}
	}
	n.track = newDownTrack("s", info, &in.traffic, nil)
	n.track.out = outlet{writer: n, ssrc: 7, payload: 96}
	n.track.rebind(n.feeds[0], 0)
	if err := n.track.connect(&egress{}); err != nil {
		t.Fatal(err)
	}
	return n
}

// unused is a network whose bursts nothing is added to.
func unused() *network { return &network{burst: func() burst { return &nowhere{} }} }

// Write implements webrtc.TrackLocalWriter.
func (n *twoNodes) Write(b []byte) (int, error) {
	var h rtp.Header
	if _, err := h.Unmarshal(b); err != nil {
		n.t.Fatal(err)
	}
	tail := b[len(b)-2:]
	n.sent = append(n.sent, sentPacket{h, int(tail[0]), time.Duration(tail[1]) * time.Millisecond})
	return len(b), nil
}

func (n *twoNodes) WriteRTP(*rtp.Header, []byte) (int, error) { panic("not used") }

var _ webrtc.TrackLocalWriter = (*twoNodes)(nil)

// audio sends 20 ms that end at the content's time, and arrive at.
func (n *twoNodes) audio(feed int, content, at time.Duration) {
	n.send(feed, 0, []byte{0x78, byte(feed), byte(content / time.Millisecond)}, 960, at)
}

func (n *twoNodes) video(feed, layer int, key bool, at time.Duration) {
	frame := byte(1)
	if key {
		frame = 0
	}
	n.send(feed, layer, []byte{0x10, frame, byte(feed), byte(layer)}, 3600, at)
}

func (n *twoNodes) send(feed, layer int, payload []byte, ticks uint32, at time.Duration) {
	h := &n.next[feed]
	h.SequenceNumber++
	h.Timestamp += ticks
	p := n.pool.Get()
	header := rtp.Header{Version: 2, PayloadType: PayloadOpus, SequenceNumber: h.SequenceNumber, Timestamp: h.Timestamp, SSRC: 1}
	size, err := header.MarshalTo(p.Buffer())
	if err != nil {
		n.t.Fatal(err)
	}
	if err := p.Parse(size + copy(p.Buffer()[size:], payload)); err != nil {
		n.t.Fatal(err)
	}
	p.Arrival = n.start.Add(at)
	n.feeds[feed].layers[0][layer].forward([]*Packet{p}, flush)
}

// Whatever the phase of the second source is, and however late it is, a listener
// hears an unbroken stream in which no more than half a frame is missing or
// doubled, beside what the second way is longer or shorter.
func TestRebindAudio(t *testing.T) {
	const frame = 20 * time.Millisecond
	for phase := range 20 {
		n := newTwoNodes(t, Audio, 1)
		for i := range 3 {
			n.audio(0, time.Duration(i)*frame, time.Duration(i)*frame)
		}
		n.track.rebind(n.feeds[1], 0)
		for i := 3; i < 10; i++ {
			at := time.Duration(i) * frame
			n.audio(0, at, at)
			if i > 4 {
				at += time.Duration(phase) * time.Millisecond
				n.audio(1, at, at)
			}
		}
		switches := 0
		for i, p := range n.sent[1:] {
			before := n.sent[i]
			if p.SequenceNumber != before.SequenceNumber+1 || p.SSRC != before.SSRC {
				t.Fatalf("phase %d: sequence %d after %d", phase, p.SequenceNumber, before.SequenceNumber)
			}
			if ticks := p.Timestamp - before.Timestamp; ticks != 960 {
				t.Errorf("phase %d: timestamp goes on by %d", phase, ticks)
			}
			if p.feed == before.feed {
				continue
			}
			switches++
			if off := p.content - before.content - frame; off.Abs() > frame/2 {
				t.Errorf("phase %d: %v of the content are missing", phase, off)
			}
		}
		if switches != 1 || len(n.sent) < 8 {
			t.Errorf("phase %d: %d switches in %d packets", phase, switches, len(n.sent))
		}
	}
}

func TestRebindVideo(t *testing.T) {
	n := newTwoNodes(t, Video, 1)
	n.video(0, 0, true, 0)
	n.track.rebind(n.feeds[1], 0)
	for i := 1; i <= 20; i++ { // 800 ms without a keyframe
		n.video(0, 0, false, time.Duration(i)*40*time.Millisecond)
		n.video(1, 0, false, time.Duration(i)*40*time.Millisecond)
	}
	if len(n.sent) != 21 || n.sent[20].feed != 0 {
		t.Fatalf("%d packets, the last of %d: the first publication is to go on", len(n.sent), n.sent[len(n.sent)-1].feed)
	}
	n.video(1, 0, true, 830*time.Millisecond)
	n.video(0, 0, false, 840*time.Millisecond)
	n.video(1, 0, false, 870*time.Millisecond)
	if len(n.sent) != 23 || n.sent[21].feed != 1 || n.sent[22].feed != 1 {
		t.Fatalf("after the keyframe: %+v", n.sent[21:])
	}
	for i, p := range n.sent[1:] {
		if ticks := p.Timestamp - n.sent[i].Timestamp; p.SequenceNumber != n.sent[i].SequenceNumber+1 || ticks > 3600 {
			t.Errorf("packet %d: timestamp goes on by %d", i+1, ticks)
		}
	}
	if ticks := n.sent[21].Timestamp - n.sent[20].Timestamp; ticks != 2700 {
		t.Errorf("%d ticks for 30 ms", ticks)
	}
	// Once by the Subscriber, who rebinds, and again here.
	if n.asked[1].keyframes == 0 {
		t.Error("no keyframe was asked for again")
	}
}

// While the first publication goes on there is time to wait for the best layer
// of the next one.
func TestRebindSimulcast(t *testing.T) {
	n := newTwoNodes(t, Video, 3)
	n.video(0, 2, true, 0)
	n.track.review(false)
	n.video(0, 2, true, 0)
	n.track.rebind(n.feeds[1], 0)
	n.video(1, 0, false, 10*time.Millisecond)
	n.video(1, 2, false, 12*time.Millisecond)
	n.video(1, 0, true, 50*time.Millisecond)
	n.video(1, 2, true, 52*time.Millisecond)
	last := n.sent[len(n.sent)-1]
	if last.feed != 1 || last.content != 2*time.Millisecond {
		t.Fatalf("feed %d, layer %d", last.feed, last.content/time.Millisecond)
	}
}

// The way to another node is lost and found while the next publication is waited
// for: what comes uses numbers again that were used, and begins anew.
func TestSourceAgainDuringRebind(t *testing.T) {
	n := newTwoNodes(t, Video, 1)
	n.video(0, 0, true, 0)
	n.video(0, 0, false, 40*time.Millisecond)
	n.track.rebind(n.feeds[1], 0)
	l := n.feeds[0].layers[0][0]
	l.epoch.Add(1)
	l.ring.Clear()
	n.next[0].SequenceNumber--
	n.video(0, 0, false, 80*time.Millisecond)
	if len(n.sent) != 2 {
		t.Fatal("goes on without a keyframe")
	}
	n.video(0, 0, true, 120*time.Millisecond)
	n.video(0, 0, false, 160*time.Millisecond)
	if len(n.sent) != 4 {
		t.Fatalf("%d packets", len(n.sent))
	}
	for i, p := range n.sent[1:] {
		if p.SequenceNumber != n.sent[i].SequenceNumber+1 {
			t.Errorf("sequence %d after %d", p.SequenceNumber, n.sent[i].SequenceNumber)
		}
	}
}

func TestRebindLetsGo(t *testing.T) {
	subscribed := func(n *twoNodes) (*subscription, *[2]int) {
		var ended [2]int
		sub := &subscription{tracks: []*downTrack{n.track}}
		for i, f := range n.feeds {
			sub.bound = append(sub.bound, &binding{feed: f, release: func() { ended[i]++ }, since: n.start})
		}
		return sub, &ended
	}
	at := func(n *twoNodes, d time.Duration) time.Time { return n.start.Add(d) }

	t.Run("when the next one flows", func(t *testing.T) {
		n := newTwoNodes(t, Audio, 1)
		n.audio(0, 0, 0)
		n.track.rebind(n.feeds[1], 0)
		sub, ended := subscribed(n)
		sub.settle(at(n, time.Second))
		if *ended != [2]int{} {
			t.Fatal("let go before the next one flows")
		}
		n.audio(1, 0, 20*time.Millisecond)
		sub.settle(at(n, 2*time.Second))
		sub.settle(at(n, 3*time.Second))
		if *ended != [2]int{1, 0} || len(sub.bound) != 1 {
			t.Fatalf("ended %v", *ended)
		}
	})
	t.Run("when it has ended", func(t *testing.T) {
		n := newTwoNodes(t, Audio, 1)
		n.audio(0, 0, 0)
		n.track.rebind(n.feeds[1], 0)
		sub, ended := subscribed(n)
		n.feeds[0].finish(ErrPublisherGone)
		sub.settle(at(n, time.Second))
		if *ended != [2]int{1, 0} {
			t.Fatalf("ended %v", *ended)
		}
		n.audio(1, 0, 3*time.Second)
		if len(n.sent) != 2 || n.sent[1].Timestamp-n.sent[0].Timestamp != 3*48000 {
			t.Fatalf("the next one does not go on: %+v", n.sent)
		}
	})
	t.Run("not while it lives and the next one never comes", func(t *testing.T) {
		n := newTwoNodes(t, Audio, 1)
		n.audio(0, 0, 0)
		n.track.rebind(n.feeds[1], 0)
		sub, ended := subscribed(n)
		n.audio(0, 0, rebindWait+time.Second)
		sub.settle(at(n, rebindWait+2*time.Second))
		if *ended != [2]int{} || len(n.sent) != 2 {
			t.Fatalf("ended %v, %d packets", *ended, len(n.sent))
		}
		sub.settle(at(n, rebindWait+4*time.Second))
		if *ended != [2]int{1, 0} {
			t.Fatal("a silent one is kept")
		}
	})
	t.Run("of one that never flowed", func(t *testing.T) {
		n := newTwoNodes(t, Audio, 1)
		n.audio(0, 0, 0)
		n.track.rebind(n.feeds[1], 0)
		sub, ended := subscribed(n)
		again := newFeed(n.feeds[1].pub, &group{}, unused())
		n.track.rebind(again, 0)
		sub.bound = append(sub.bound, &binding{feed: again, release: func() {}, since: n.start})
		sub.settle(at(n, 0))
		if *ended != [2]int{0, 1} || len(sub.bound) != 2 {
			t.Fatalf("ended %v", *ended)
		}
	})
}
