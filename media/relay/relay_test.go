package relay

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/talkd/talkd/media"
)

func TestPacketsArriveUnchangedAndInOrder(t *testing.T) {
	n := newNetwork(t, "edge", "listener")
	edge, listener := n.node("edge"), n.node("listener")
	l := edge.publish("alice")
	r := listener.pull(l.pub)
	if len(r.Layers) != 3 {
		t.Fatalf("%d layers, want 3", len(r.Layers))
	}
	const packets = 300
	first := 1<<16 - 100 // the numbers wrap
	for _, layer := range r.Layers {
		for i := 0; i < packets; i += 50 {
			l.write(layer.Track, layer.Layer, numbers(first+i, 50)...)
		}
		if got, want := collect(t, layer.Source, packets), numbers(first, packets); !slices.Equal(got, want) {
			t.Fatalf("track %d, layer %d: order %v", layer.Track, layer.Layer, got)
		}
	}

	in, out := listener.manager.Streams(), edge.manager.Outgoing()
	if len(in) != 3 || len(out) != 3 {
		t.Fatalf("%d streams in, %d out, want 3", len(in), len(out))
	}
	for _, s := range append(in, out...) {
		if s.From != "edge" || s.To != "listener" || s.Group != "room" || s.Pub != l.pub.ID ||
			s.Packets != packets || s.Bytes < packets*100 || s.Lost != 0 {
			t.Errorf("stream %+v", s)
		}
	}
	if a, b := edge.manager.Totals(), listener.manager.Totals(); a.PacketsOut != 3*packets || b.PacketsIn != a.PacketsOut || b.BytesIn != a.BytesOut {
		t.Errorf("totals %+v and %+v", a, b)
	}
}

func TestLossIsRepaired(t *testing.T) {
	n := newNetwork(t, "edge", "listener")
	edge, listener := n.node("edge"), n.node("listener")
	l := edge.publish("alice")
	r := listener.pull(l.pub)
	edge.sock.dropEvery(7, kindRTP)      // also of what is sent again
	listener.sock.dropEvery(3, kindNACK) // and of the requests
	const packets = 400
	go func() {
		for i := range packets / 10 {
			l.write(1, 1, numbers(i*10, 10)...)
			time.Sleep(time.Millisecond) // a stream, not one burst
		}
		edge.sock.intercept(func(header, []byte) bool { return true })
		l.write(1, 1, packets) // what was lost last shows by what follows
	}()
	got := collect(t, layerOf(r, 1, 1).Source, packets+1)
	slices.Sort(got)
	if !slices.Equal(got, numbers(0, packets+1)) {
		t.Fatal("packets are missing")
	}
	var lost uint64
	for _, s := range listener.manager.Streams() {
		lost += s.Lost
	}
	if lost < packets/10 {
		t.Errorf("%d packets counted as lost, want about a seventh of %d", lost, packets)
	}
}

func TestReorderedPacketsAreNotLost(t *testing.T) {
	n := newNetwork(t, "edge", "listener")
	edge, listener := n.node("edge"), n.node("listener")
	l := edge.publish("alice")
	r := listener.pull(l.pub)
	for i := uint16(0); i < 200; i += 4 {
		l.write(1, 0, i, i+3, i+2, i+1)
	}
	got := collect(t, layerOf(r, 1, 0).Source, 200)
	if !slices.Equal(got[:4], []uint16{0, 3, 2, 1}) {
		t.Errorf("delivered as %v", got[:4])
	}
	if s := listener.manager.Streams()[1]; s.Lost != 0 {
		t.Errorf("%d counted as lost", s.Lost)
	}
}

func TestListenersNACKIsPassedOn(t *testing.T) {
	n := newNetwork(t, "edge", "listener")
	edge, listener := n.node("edge"), n.node("listener")
	l := edge.publish("alice")
	layer := layerOf(listener.pull(l.pub), 1, 0)
	l.write(1, 0, numbers(0, 10)...)
	collect(t, layer.Source, 10)
	layer.Feedback.NACK([]uint16{3, 5, 60000}) // the last was never sent
	batch := make([]*media.Packet, 1)
	for _, want := range []uint16{3, 5} {
		if _, err := layer.Source.Read(batch); err != nil || batch[0].Sequence != want {
			t.Fatalf("read %d, %v, want %d", batch[0].Sequence, err, want)
		}
		batch[0].Release()
	}
}

func TestKeyframeRequestsAreMerged(t *testing.T) {
	n := newNetwork(t, "edge", "listener")
	edge, listener := n.node("edge"), n.node("listener")
	l := edge.publish("alice")
	layer := layerOf(listener.pull(l.pub), 1, 1)
	var first sync.Once
	listener.sock.intercept(func(h header, _ []byte) (pass bool) {
		pass = true
		first.Do(func() { pass = false }) // the first copy is lost
		return pass
	})
	for range 50 {
		layer.Feedback.Keyframe()
	}
	eventually(t, "keyframe asked for", func() bool { return l.keyframes(1, 1) > 0 })
	eventually(t, "all copies taken", func() bool { return edge.manager.Totals().PacketsIn == refreshCopies-1 })
	if k := l.keyframes(1, 1); k >= refreshCopies { // one, unless the machine sleeps between the copies
		t.Errorf("the publisher was asked %d times", k)
	}
	if k := l.keyframes(1, 0); k != 0 {
		t.Errorf("another layer was asked %d times", k)
	}
}

func TestMessagesAndClocks(t *testing.T) {
	n := newNetwork(t, "edge", "listener")
	edge, listener := n.node("edge"), n.node("listener")
	l := edge.publish("alice")
	sent := media.Clock{NTP: 1 << 60, RTP: 4711, Arrival: time.Now().Add(-3 * time.Second)}
	l.setClock(1, 0, sent)
	r := listener.pull(l.pub)
	l.say(media.DataMessage{Text: true, Data: []byte(`{"type":"speaking"}`)})
	l.say(media.DataMessage{Data: make([]byte, media.MaxDataMessage)})
	l.say(media.DataMessage{Text: true, Data: []byte{}})
	if m := <-r.Data; !m.Text || string(m.Data) != `{"type":"speaking"}` {
		t.Errorf("first message %+v", m)
	}
	if m := <-r.Data; m.Text || len(m.Data) != media.MaxDataMessage {
		t.Errorf("second message of %d bytes", len(m.Data))
	}
	if m := <-r.Data; !m.Text || m.Data == nil || len(m.Data) != 0 {
		t.Errorf("empty message %+v", m)
	}

	var got media.Clock
	eventually(t, "clock", func() (ok bool) { got, ok = layerOf(r, 1, 0).Clock(); return ok })
	if got.NTP != sent.NTP || got.RTP != sent.RTP || got.Arrival.Sub(sent.Arrival).Abs() > time.Second {
		t.Errorf("clock %+v, want %+v", got, sent)
	}
	sent.RTP++
	l.setClock(1, 0, sent)
	eventually(t, "new clock", func() bool { got, _ = layerOf(r, 1, 0).Clock(); return got.RTP == sent.RTP })
	if _, ok := layerOf(r, 0, 0).Clock(); ok {
		t.Error("a layer without sender report has a clock")
	}

	// Nobody reads any more: messages are dropped, nothing else suffers.
	for i := range media.DataQueue * 4 {
		l.say(media.DataMessage{Data: []byte{byte(i)}})
	}
	eventually(t, "messages dropped", func() bool { return listener.drops(dropData) > 0 })
	close(l.done)
	<-r.Done
}

func TestEndOfPublication(t *testing.T) {
	n := newNetwork(t, "edge", "listener")
	edge, listener := n.node("edge"), n.node("listener")
	l := edge.publish("alice")
	r := listener.pull(l.pub)
	if err := r.Err(); err != nil {
		t.Fatalf("Err before the end: %v", err)
	}
	l.write(0, 0, 1)
	eventually(t, "packet queued", func() bool { return listener.manager.Totals().PacketsIn == 1 })
	close(l.done)
	<-r.Done
	if !errors.Is(r.Err(), media.ErrPublisherGone) {
		t.Errorf("Err = %v", r.Err())
	}
	collect(t, layerOf(r, 0, 0).Source, 1) // what had come is delivered
	if _, err := layerOf(r, 0, 0).Source.Read(make([]*media.Packet, 1)); !errors.Is(err, media.ErrPublisherGone) {
		t.Errorf("Read = %v", err)
	}
	assertIdle(t, n, l)
}

func TestCloseEndsTheFlow(t *testing.T) {
	n := newNetwork(t, "edge", "listener")
	l := n.node("edge").publish("alice")
	r := n.node("listener").pull(l.pub)
	read := make(chan error, 1)
	go func() {
		_, err := layerOf(r, 0, 0).Source.Read(make([]*media.Packet, 1))
		read <- err
	}()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-read; !errors.Is(err, ErrClosed) {
		t.Errorf("Read = %v", err)
	}
	if err := r.Err(); !errors.Is(err, ErrClosed) {
		t.Errorf("Err = %v", err)
	}
	assertIdle(t, n, l)
}

// assertIdle checks that nothing of an ended pull is left at either end.
func assertIdle(t *testing.T, n *network, l *fakeLocal) {
	t.Helper()
	eventually(t, "all is detached", func() bool { return l.users() == 0 })
	eventually(t, "no flow", func() bool { return len(n.node("edge").manager.openFlows()) == 0 })
	eventually(t, "no pull", func() bool { return len(n.node("listener").manager.openPulls()) == 0 })
	for id, node := range n.nodes {
		eventually(t, "no port of "+string(id), func() bool {
			node.manager.table.mu.RLock()
			defer node.manager.table.mu.RUnlock()
			for _, k := range node.manager.table.links {
				if len(k.ports) > 0 {
					return false
				}
			}
			return true
		})
	}
}

func TestPublishersNodeDies(t *testing.T) {
	n := newNetwork(t, "edge", "listener")
	l := n.node("edge").publish("alice")
	r := n.node("listener").pull(l.pub)
	n.node("edge").kill()
	<-r.Done
	if err := r.Err(); !errors.Is(err, ErrLost) || errors.Is(err, media.ErrPublisherGone) {
		t.Errorf("Err = %v", err)
	}
	// Its next process knows nothing of the keys.
	l = n.start("edge").publish("alice")
	r = n.node("listener").pull(l.pub)
	l.write(0, 0, 1, 2, 3)
	collect(t, layerOf(r, 0, 0).Source, 3)
}

func TestListenersNodeDies(t *testing.T) {
	n := newNetwork(t, "edge", "listener")
	edge := n.node("edge")
	l := edge.publish("alice")
	r := n.node("listener").pull(l.pub)
	var late [][]byte // frames for the process that dies
	edge.sock.intercept(func(_ header, frame []byte) bool {
		late = append(late, slices.Clone(frame))
		return true
	})
	l.write(0, 0, 1, 2, 3)
	collect(t, layerOf(r, 0, 0).Source, 3)
	n.node("listener").kill()
	eventually(t, "all is detached", func() bool { return l.users() == 0 })
	edge.sock.intercept(func(header, []byte) bool { return true })

	listener := n.start("listener")
	r = listener.pull(l.pub)
	inject(t, listener, late...)
	eventually(t, "old frames dropped", func() bool { return listener.drops(dropEpoch) == 3 })
	l.write(0, 0, 4, 5)
	if got := collect(t, layerOf(r, 0, 0).Source, 2); !slices.Equal(got, []uint16{4, 5}) {
		t.Errorf("got %v", got)
	}
}

// inject sends frames to a node from a socket of nobody.
func inject(t *testing.T, to *testNode, frames ...[]byte) {
	t.Helper()
	var d net.Dialer
	c, err := d.DialContext(t.Context(), "udp", to.manager.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	for _, f := range frames {
		if _, err := c.Write(f); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFramesOfOthersAreDropped(t *testing.T) {
	n := newNetwork(t, "edge", "listener")
	edge, listener := n.node("edge"), n.node("listener")
	l := edge.publish("alice")
	r := listener.pull(l.pub)
	frames := make(chan []byte, 1)
	edge.sock.intercept(func(_ header, frame []byte) bool {
		frames <- slices.Clone(frame)
		return true
	})
	l.write(0, 0, 1)
	collect(t, layerOf(r, 0, 0).Source, 1)
	frame := <-frames

	forged := slices.Clone(frame)
	binary.BigEndian.PutUint64(forged[10:], 99) // a counter not seen yet
	stream := slices.Clone(frame)
	binary.BigEndian.PutUint32(stream[6:], 999)
	wrongKind := slices.Clone(frame)
	wrongKind[1] = byte(kindNACK)
	inject(t, listener, frame, forged, stream, wrongKind, frame[:20], append(slices.Clone(frame), make([]byte, maxFrame)...))
	eventually(t, "all is dropped", func() bool {
		return listener.drops(dropReplay) == 1 && listener.drops(dropForged) == 1 && listener.drops(dropStream) == 1 &&
			listener.drops(dropMalformed) == 3
	})
	if in := listener.manager.Totals().PacketsIn; in != 1 {
		t.Errorf("%d packets taken", in)
	}
	l.write(0, 0, 2)
	collect(t, layerOf(r, 0, 0).Source, 1)
}

func TestTwoPublicationsAndBothDirections(t *testing.T) {
	n := newNetwork(t, "a", "b")
	a, b := n.node("a"), n.node("b")
	locals := []*fakeLocal{a.publish("one"), a.publish("two"), b.publish("three")}
	nodes := []*testNode{b, b, a}
	var wg sync.WaitGroup
	for i, l := range locals {
		wg.Go(func() { // at once: they agree on one link
			ctx, cancel := context.WithTimeout(t.Context(), waitFor)
			defer cancel()
			r, err := nodes[i].manager.Pull(ctx, l.pub)
			if err != nil {
				t.Errorf("Pull: %v", err)
				return
			}
			defer func() { _ = r.Close() }()
			l.write(0, 0, numbers(1000*i, 20)...)
			if got, want := collect(t, layerOf(r, 0, 0).Source, 20), numbers(1000*i, 20); !slices.Equal(got, want) {
				t.Errorf("publication %d: %v", i, got)
			}
		})
	}
	wg.Wait()
	if k := len(b.manager.table.links); k != 2 { // one for each direction of pulling
		t.Errorf("%d links", k)
	}
}

func TestPullAgainReplacesTheFlow(t *testing.T) {
	n := newNetwork(t, "edge", "listener")
	l := n.node("edge").publish("alice")
	old := n.node("listener").pull(l.pub)
	r := n.node("listener").pull(l.pub)
	<-old.Done
	if err := old.Err(); !errors.Is(err, ErrLost) {
		t.Errorf("Err of the first = %v", err)
	}
	if users := l.users(); users != len(r.Layers)+1 {
		t.Errorf("%d attachments for one flow", users)
	}
	l.write(0, 0, 7)
	collect(t, layerOf(r, 0, 0).Source, 1)
}

func TestRefusals(t *testing.T) {
	n := newNetwork(t, "edge", "listener")
	edge, listener := n.node("edge"), n.node("listener")
	l := edge.publish("alice")
	own := listener.publish("bob")
	unknown := publication("edge", "nobody")
	away := publication("away", "carol")
	tooManyLayers := l.pub
	tooManyLayers.Tracks = slices.Clone(l.pub.Tracks)
	tooManyLayers.Tracks[1].Layers = []media.LayerInfo{{Index: 0}, {Index: 1}, {Index: 2}}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		name   string
		ctx    context.Context
		pub    media.Publication
		denied bool
		want   error
	}{
		{"invalid", t.Context(), media.Publication{Edge: "edge"}, false, media.ErrBadPublication},
		{"own", t.Context(), own.pub, false, media.ErrBadPublication},
		{"unknown", t.Context(), unknown, false, media.ErrNotFound},
		{"layer unknown", t.Context(), tooManyLayers, false, media.ErrNotFound},
		{"denied", t.Context(), l.pub, true, ErrDenied},
		{"node unknown", t.Context(), away, false, ErrUnreachable},
		{"gave up", ended, l.pub, false, context.Canceled},
	} {
		edge.denied.Store(c.denied)
		if _, err := listener.manager.Pull(c.ctx, c.pub); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	assertIdle(t, n, l)
}

// A flow ends when the other node may not have it any more; one refusal is not
// enough.
func TestFlowIsAuthorizedAgain(t *testing.T) {
	n := newNetwork(t, "edge", "listener")
	edge, listener := n.node("edge"), n.node("listener")
	edge.manager.auditEvery = 5 * time.Millisecond
	l := edge.publish("alice")
	r := listener.pull(l.pub)

	edge.denials.Store(1)
	asked := edge.asked.Load()
	eventually(t, "asked again after a refusal", func() bool { return edge.asked.Load() >= asked+3 })
	if r.Err() != nil {
		t.Fatalf("ended by one refusal: %v", r.Err())
	}
	l.write(1, 1, 1)
	collect(t, layerOf(r, 1, 1).Source, 1)

	edge.denied.Store(true)
	select {
	case <-r.Done:
	case <-time.After(waitFor):
		t.Fatal("the flow goes on")
	}
	if !errors.Is(r.Err(), ErrDenied) {
		t.Errorf("Err = %v", r.Err())
	}
	assertIdle(t, n, l)
}

func TestStoppedManagers(t *testing.T) {
	n := newNetwork(t, "edge", "listener", "third")
	edge, listener := n.node("edge"), n.node("listener")
	l := edge.publish("alice")
	a, b := listener.pull(l.pub), n.node("third").pull(l.pub)
	listener.cancel()
	<-a.Done
	if !errors.Is(a.Err(), ErrClosed) {
		t.Errorf("Err = %v", a.Err())
	}
	if _, err := listener.manager.Pull(t.Context(), l.pub); !errors.Is(err, ErrClosed) {
		t.Errorf("Pull after the end: %v", err)
	}
	edge.cancel()
	<-b.Done
	if !errors.Is(b.Err(), ErrLost) {
		t.Errorf("Err = %v", b.Err())
	}
	if _, err := n.node("third").manager.Pull(t.Context(), l.pub); !errors.Is(err, ErrUnreachable) {
		t.Errorf("Pull from a node that stops: %v", err)
	}
}

func TestStreamIDsUsedUp(t *testing.T) {
	n := newNetwork(t, "edge", "listener")
	edge, listener := n.node("edge"), n.node("listener")
	l, other := edge.publish("alice"), edge.publish("bob")
	r := listener.pull(l.pub)
	m := listener.manager
	k := m.keysOf("edge")
	m.table.mu.Lock()
	k.link.next = math.MaxUint32 - 1
	m.table.mu.Unlock()
	r2 := listener.pull(other.pub)
	// The first pull goes on under the old keys, requests included.
	for _, x := range []struct {
		l *fakeLocal
		r *media.Relayed
	}{{l, r}, {other, r2}} {
		x.l.write(1, 0, 1, 2, 3)
		collect(t, layerOf(x.r, 1, 0).Source, 3)
		layerOf(x.r, 1, 0).Feedback.Keyframe()
		eventually(t, "keyframe asked for", func() bool { return x.l.keyframes(1, 0) == 1 })
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	for _, id := range []*testNode{edge, listener} {
		eventually(t, "the old link is gone", func() bool {
			id.manager.table.mu.RLock()
			defer id.manager.table.mu.RUnlock()
			return len(id.manager.table.links) == 1
		})
	}
}

func TestSlowReaderLosesAndRepairs(t *testing.T) {
	n := newNetwork(t, "edge", "listener")
	edge, listener := n.node("edge"), n.node("listener")
	l := edge.publish("alice")
	r := listener.pull(l.pub)
	const packets = queueLen + 40
	for i := 0; i < packets; i += 10 {
		l.write(1, 0, numbers(i, 10)...)
		eventually(t, "taken", func() bool { return listener.manager.Totals().PacketsIn >= uint64(i+10) })
	}
	if listener.drops(dropQueue) == 0 {
		t.Fatal("the queue is not bounded")
	}
	if s := listener.manager.Streams(); s[1].Lost == 0 {
		t.Errorf("stream %+v", s[1])
	}
	src := layerOf(r, 1, 0).Source
	collect(t, src, queueLen)
	l.write(1, 0, packets) // shows what is missing
	collect(t, src, packets-queueLen+1)
}

func TestSocketOfAllAddresses(t *testing.T) {
	m, err := NewManager(Config{ListenUDP: ":0"}, (&testNode{id: "any"}).deps())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.Close() }()
	other, err := listen(t.Context(), "127.0.0.1:0", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.close() }()
	_, aead, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	to, err := resolve(t.Context(), other.addr().String())
	if err != nil {
		t.Fatal(err)
	}
	m.sendOne(aead, header{kind: kindRTP, epoch: 1, stream: 1, counter: 1}, []byte("x"), to)
	if err := other.read(); err != nil {
		t.Fatal(err)
	}
	if n := len(other.next()); n != headerLen+1+tagLen {
		t.Errorf("read %d bytes", n)
	}
}

func TestConfigAndMetrics(t *testing.T) {
	deps := (&testNode{id: "x"}).deps()
	for name, cfg := range map[string]Config{
		"no port":       {ListenUDP: "127.0.0.1"},
		"bad advertise": {ListenUDP: "127.0.0.1:0", Advertise: "host"},
	} {
		if _, err := NewManager(cfg, deps); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := NewManager(Config{ListenUDP: "127.0.0.1:0"}, Deps{}); !errors.Is(err, ErrConfig) {
		t.Errorf("without dependencies: %v", err)
	}
	reg := prometheus.NewPedanticRegistry()
	deps.Registerer = reg
	m, err := NewManager(Config{ListenUDP: "127.0.0.1:0", Advertise: "relay.example:7000"}, deps)
	if err != nil {
		t.Fatal(err)
	}
	if m.Addr() != "relay.example:7000" {
		t.Errorf("Addr = %q", m.Addr())
	}
	if families, err := reg.Gather(); err != nil || len(families) != 11 {
		t.Errorf("%d metrics, %v", len(families), err)
	}
	if _, err := NewManager(Config{ListenUDP: "127.0.0.1:0"}, deps); err == nil {
		t.Error("metrics registered twice")
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

// TestPast: a layer that had a keyframe just now begins with what came since, and with
// what comes then; who pulls knows that no other one need be asked for.
func TestPast(t *testing.T) {
	n := newNetwork(t, "edge", "listener")
	l := n.node("edge").publish("alice")
	l.write(1, 0, numbers(65500, 100)...)
	l.write(1, 1, numbers(10, 50)...)
	l.layers[[2]uint8{1, 0}].past = 0
	l.layers[[2]uint8{1, 1}].past = 20
	r := n.node("listener").pull(l.pub)
	if layerOf(r, 0, 0).Past || layerOf(r, 1, 0).Past || !layerOf(r, 1, 1).Past {
		t.Errorf("%+v", r.Layers)
	}
	l.write(1, 1, numbers(60, 5)...)
	if got := collect(t, layerOf(r, 1, 1).Source, 25); !slices.Equal(got, numbers(40, 25)) {
		t.Errorf("came %v", got)
	}
}
