package relay

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/ipv4"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/media/relay/internal/relaypb"
)

// at is a time of the tests.
func at(ms int) time.Time { return time.Unix(1000, 0).Add(time.Duration(ms) * time.Millisecond) }

func ask(r *repair, ms int) []uint16 { return r.due(at(ms), make([]uint16, 0, maxNACK)) }

func arrive(r *repair, ms int, seqs ...uint16) {
	for _, s := range seqs {
		r.arrived(s, at(ms))
	}
}

func TestRepairAsksUntilItComes(t *testing.T) {
	r := repair{outcomes: new(outcomes)}
	arrive(&r, 0, 65534, 65535, 2) // 0 and 1 are missing
	if got := ask(&r, 7); len(got) != 0 {
		t.Errorf("asked at once: %v", got)
	}
	if got := ask(&r, 8); !slices.Equal(got, []uint16{0, 1}) {
		t.Errorf("asked for %v", got)
	}
	if got := ask(&r, 30); len(got) != 0 {
		t.Errorf("asked again too early: %v", got)
	}
	arrive(&r, 40, 1)
	if got := ask(&r, 60); !slices.Equal(got, []uint16{0}) {
		t.Errorf("asked for %v", got)
	}
	arrive(&r, 70, 0)
	if next := r.next(); !next.IsZero() {
		t.Errorf("something is due at %v", next)
	}
	if o := r.outcomes; o.asked.Load() != 3 || o.repaired.Load() != 2 || o.abandoned.Load() != 0 {
		t.Errorf("%d asks, %d repaired, %d abandoned", o.asked.Load(), o.repaired.Load(), o.abandoned.Load())
	}
}

func TestRepairWaitsForTheOvertaken(t *testing.T) {
	r := repair{outcomes: new(outcomes)}
	arrive(&r, 0, 1, 4, 3)
	arrive(&r, 7, 2)
	if got := ask(&r, 1000); len(got) != 0 {
		t.Errorf("asked for %v", got)
	}
	if n := r.outcomes.repaired.Load(); n != 0 {
		t.Errorf("%d counted as repaired", n)
	}
}

func TestRepairGivesUp(t *testing.T) {
	r := repair{outcomes: new(outcomes)}
	arrive(&r, 0, 1, 3)
	var times []int
	for ms := range 2000 {
		if len(ask(&r, ms)) > 0 {
			times = append(times, ms)
		}
	}
	if want := []int{8, 58, 158, 358, 608, 858}; !slices.Equal(times, want) {
		t.Errorf("asked at %v, want %v", times, want)
	}
	if n := r.outcomes.abandoned.Load(); n != 1 || len(r.pending) != 0 {
		t.Errorf("%d abandoned, %d pending", n, len(r.pending))
	}
}

func TestRepairLearnsTheRoundTrip(t *testing.T) {
	r := repair{outcomes: new(outcomes)}
	arrive(&r, 0, 1, 3)
	ask(&r, 8)
	arrive(&r, 108, 2) // a round trip of 100 ms
	arrive(&r, 200, 5)
	ask(&r, 208)
	if next := r.next(); !next.Equal(at(358)) {
		t.Errorf("asks again %v after the first, want 150 ms", next.Sub(at(208)))
	}
}

func TestRepairMergesWhatListenersWant(t *testing.T) {
	r := repair{outcomes: new(outcomes)}
	if r.want([]uint16{5}, at(0)) {
		t.Error("asks for packets of a layer that has not begun")
	}
	arrive(&r, 0, 10, 12)
	if !r.want([]uint16{11, 7, 13, 10000}, at(1)) { // known missing; older; to come; nonsense
		t.Error("nothing to ask for")
	}
	if got := ask(&r, 1); !slices.Equal(got, []uint16{11, 7}) {
		t.Errorf("asked for %v", got)
	}
	if r.want([]uint16{11, 7}, at(2)) {
		t.Error("asks again at once")
	}
}

func TestRepairIsBounded(t *testing.T) {
	r := repair{outcomes: new(outcomes)}
	for i := range 400 {
		arrive(&r, 0, uint16(i*4))
	}
	if len(r.pending) != maxPending {
		t.Errorf("%d pending", len(r.pending))
	}
	if got := ask(&r, 8); len(got) != maxNACK {
		t.Errorf("asked for %d in one frame", len(got))
	}
	for _, jump := range []uint16{30000, 20000} { // forwards, and back
		arrive(&r, 9, jump)
		if len(r.pending) != 0 || r.highest != jump {
			t.Errorf("after the jump to %d: %d pending, highest %d", jump, len(r.pending), r.highest)
		}
	}
}

// Whatever is lost of packets, requests and answers with a probability below
// one half is there in the end, and nothing is asked for that came.
func TestRepairProperty(t *testing.T) {
	for seed := range uint64(50) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		loss := rnd.Float64() * 0.3
		r := repair{outcomes: new(outcomes)}
		got := make(map[uint16]bool)
		first := uint16(rnd.Uint32())
		const packets = 2000
		for i := range packets {
			seq := first + uint16(i)
			if i == 0 || i == packets-1 || rnd.Float64() >= loss {
				got[seq] = true
				arrive(&r, i*3, seq)
			}
			for _, s := range ask(&r, i*3) {
				if got[s] {
					t.Fatalf("seed %d: asked for %d, which came", seed, s)
				}
				if rnd.Float64() >= 2*loss*(1-loss/2)*0.5 { // the request and the answer come through
					got[s] = true
					arrive(&r, i*3, s)
				}
			}
		}
		for i := range 1000 {
			for _, s := range ask(&r, packets*3+i) {
				got[s] = true
				arrive(&r, packets*3+i, s)
			}
		}
		if n := r.outcomes.abandoned.Load(); uint64(len(got))+n != packets || n > packets/100 {
			t.Fatalf("seed %d: %d of %d packets, %d abandoned", seed, len(got), packets, n)
		}
	}
}

// recorder is a socket that notes when which frame went out.
type recorder struct {
	socket
	mu   sync.Mutex
	sent []sentFrame // guarded by mu
}

type sentFrame struct {
	after time.Duration
	h     header
	frame []byte
}

func (s *recorder) write(batch []ipv4.Message) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range batch {
		h, _ := parseHeader(m.Buffers[0])
		s.sent = append(s.sent, sentFrame{after: time.Since(began), h: h, frame: slices.Clone(m.Buffers[0])})
	}
	return len(batch), nil
}

// began is the time at which the clock of every synctest bubble starts.
var began = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func (s *recorder) take() []sentFrame {
	s.mu.Lock()
	defer s.mu.Unlock()
	sent := s.sent
	s.sent = nil
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
		p := newPull(m, publication("edge", "alice"), l, nil)
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
		}
		for _, seq := range []uint16{1, 2, 4, 7} {
			take(seq)
		}
		layer.Keyframe()
		layer.Keyframe()
		synctest.Wait()
		time.Sleep(200 * time.Millisecond) // of the bubble
		var o opener
		var keyframes, nacks []time.Duration
		for i, f := range sock.take() {
			if f.h.stream != p.ports[2].stream || f.h.epoch != 77 || f.h.counter != uint64(i+1) {
				t.Errorf("frame %+v", f.h)
			}
			plain, err := open(nil, aead, &o.nonce, f.h, f.frame)
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
