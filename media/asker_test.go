package media

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtcp"

	"github.com/talkd/talkd/media/repair"
)

// asked is a round of requests to a publisher.
type asked struct {
	after time.Duration
	seqs  map[uint32][]uint16 // by SSRC
}

// askedPublisher is asked for packets of the layers 100, 101, …, in a bubble.
type askedPublisher struct {
	*asker
	outcomes repair.Outcomes
	began    time.Time
	answer   func(ssrc uint32, seq uint16)
	end      func()

	mu     sync.Mutex
	rounds []asked // guarded by mu
}

func newAskedPublisher(t *testing.T, layers uint8) *askedPublisher {
	t.Helper()
	p := &askedPublisher{began: time.Now()}
	p.asker = newAsker(p.take)
	for i := range layers {
		ssrc := new(atomic.Uint32)
		ssrc.Store(100 + uint32(i))
		p.add(origin{0, i}, ssrc, &p.outcomes)
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		p.run(done)
	}()
	p.end = func() {
		close(done)
		<-ended
	}
	return p
}

func (p *askedPublisher) take(packets []rtcp.Packet) error {
	a := asked{after: time.Since(p.began), seqs: map[uint32][]uint16{}}
	for _, packet := range packets {
		n := packet.(*rtcp.TransportLayerNack)
		for _, pair := range n.Nacks {
			a.seqs[n.MediaSSRC] = append(a.seqs[n.MediaSSRC], pair.PacketList()...)
		}
	}
	p.mu.Lock()
	p.rounds = append(p.rounds, a)
	p.mu.Unlock()
	if p.answer != nil {
		for ssrc, seqs := range a.seqs {
			for _, seq := range seqs {
				p.answer(ssrc, seq)
			}
		}
	}
	return nil
}

func (p *askedPublisher) taken() []asked {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	rounds := p.rounds
	p.rounds = nil
	return rounds
}

// send lets packets of a layer arrive, and tells whether some are missing.
func (p *askedPublisher) send(layer uint8, seqs ...uint16) (missing bool) {
	l := p.layers[origin{0, layer}]
	for _, seq := range seqs {
		l.arrived(seq, time.Now())
	}
	return l.stream.Missing()
}

func times(rounds []asked) []time.Duration {
	var all []time.Duration
	for _, r := range rounds {
		all = append(all, r.after)
	}
	return all
}

const ms = time.Millisecond

func TestAskerAsksUntilItComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newAskedPublisher(t, 1)
		defer p.end()
		if p.send(0, 65533, 65534) {
			t.Error("nothing is lost, but missing")
		}
		if !p.send(0, 1) { // 65535 and 0 are lost
			t.Error("nothing is missing")
		}
		time.Sleep(60 * ms) // of the bubble, like all others here
		rounds := p.taken()
		if want := []time.Duration{8 * ms, 58 * ms}; !slices.Equal(times(rounds), want) {
			t.Fatalf("asked after %v, want %v", times(rounds), want)
		}
		for _, r := range rounds {
			if !slices.Equal(r.seqs[100], []uint16{65535, 0}) {
				t.Errorf("asked for %v", r.seqs)
			}
		}
		if p.send(0, 65535, 0) {
			t.Error("still missing what came")
		}
		time.Sleep(time.Hour)
		if late := p.taken(); len(late) != 0 {
			t.Errorf("asked after %v for what came", times(late))
		}
	})
}

func TestAskerWaitsForTheOvertaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newAskedPublisher(t, 1)
		defer p.end()
		p.send(0, 1, 2, 5, 4, 3)
		time.Sleep(time.Hour)
		if rounds := p.taken(); len(rounds) != 0 {
			t.Errorf("asked after %v", times(rounds))
		}
	})
}

// Somebody without a camera sends nothing: also after a loss that nobody
// answers the asking ends, and what comes after a pause is not asked for.
func TestAskerIsSilentForTheMuted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newAskedPublisher(t, 1)
		defer p.end()
		p.send(0, 1, 2, 3, 5)
		time.Sleep(5 * time.Second)
		rounds := p.taken()
		if want := []time.Duration{8 * ms, 58 * ms, 158 * ms, 358 * ms, 758 * ms, 1258 * ms, 1758 * ms, 2258 * ms}; !slices.Equal(times(rounds), want) {
			t.Errorf("asked after %v, want %v", times(rounds), want)
		}
		time.Sleep(time.Hour)
		p.send(0, 6, 7)
		time.Sleep(time.Hour)
		if rounds := p.taken(); len(rounds) != 0 {
			t.Errorf("asked after %v", times(rounds))
		}
		if n := p.outcomes.Abandoned.Load(); n != 1 {
			t.Errorf("%d abandoned", n)
		}
	})
}

func TestAskerMergesListeners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newAskedPublisher(t, 1)
		defer p.end()
		l := p.layers[origin{}]
		p.send(0, 10, 12, 13)
		for range 3 {
			l.hasten([]uint16{11, 10, 5, 14, 40000}, time.Now()) // missing; here; too old; to come; nonsense
		}
		time.Sleep(40 * ms)
		l.hasten([]uint16{11}, time.Now())
		rounds := p.taken()
		if len(rounds) != 1 || rounds[0].after != 0 || !slices.Equal(rounds[0].seqs[100], []uint16{11}) {
			t.Errorf("asked for %+v, want 11 at once", rounds)
		}
	})
}

func TestAskerMergesLayersAndBoundsRounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newAskedPublisher(t, 3)
		defer p.end()
		p.send(0, 1, 3)
		p.send(1, 7, 10)
		time.Sleep(10 * ms)
		rounds := p.taken()
		if len(rounds) != 1 || !slices.Equal(rounds[0].seqs[100], []uint16{2}) || !slices.Equal(rounds[0].seqs[101], []uint16{8, 9}) {
			t.Errorf("asked for %+v", rounds)
		}
		p.send(0, 2)
		p.send(1, 8, 9)
		for i := range uint16(400) { // every second one is lost: the worst to write down
			p.send(2, 2*i)
		}
		time.Sleep(30 * ms)
		rounds = p.taken()
		if want := []time.Duration{18 * ms, 23 * ms}; !slices.Equal(times(rounds), want) {
			t.Fatalf("asked after %v, want %v", times(rounds), want)
		}
		if a, b := len(rounds[0].seqs[102]), len(rounds[1].seqs[102]); a != maxAsked || b != 399-maxAsked {
			t.Errorf("asked for %d and %d", a, b)
		}
	})
}

// Whatever is lost of packets and of what is sent again: no packet is asked for
// more often than the rule says, and none that came; nearly all come. As long
// as nothing that is sent again is lost, once is enough.
func TestAskerProperty(t *testing.T) {
	for seed := range uint64(30) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 2))
			loss, again := rnd.Float64()*0.2, 0.0
			if seed%2 == 1 {
				again = rnd.Float64() * 0.3
			}
			trip := time.Duration(1+rnd.IntN(45)) * ms
			const packets = 1500
			var mu sync.Mutex // guards what follows
			here, asks := map[uint16]bool{}, map[uint16]int{}
			p := newAskedPublisher(t, 1)
			defer p.end()
			p.answer = func(_ uint32, seq uint16) {
				mu.Lock()
				defer mu.Unlock()
				if here[seq] {
					t.Errorf("seed %d: asked for %d, which came", seed, seq)
				}
				if asks[seq]++; asks[seq] > askRule().Asks {
					t.Errorf("seed %d: asked %d times for %d", seed, asks[seq], seq)
				}
				if rnd.Float64() < again {
					return
				}
				time.AfterFunc(trip, func() {
					mu.Lock()
					defer mu.Unlock()
					here[seq] = true
					p.send(0, seq)
				})
			}
			first, lost := uint16(rnd.Uint32()), 0
			for i := range packets {
				mu.Lock()
				if seq := first + uint16(i); i == 0 || i == packets-1 || rnd.Float64() >= loss {
					here[seq] = true
					p.send(0, seq)
				} else {
					lost++
				}
				mu.Unlock()
				time.Sleep(3 * ms)
			}
			time.Sleep(10 * time.Second)
			mu.Lock()
			defer mu.Unlock()
			if len(here) < packets-packets/100 || len(asks) != lost {
				t.Errorf("seed %d: %d of %d came, %d of %d lost were asked for", seed, len(here), packets, len(asks), lost)
			}
			if n := p.outcomes.Asked.Load(); again == 0 && n != uint64(lost) {
				t.Errorf("seed %d: asked %d times for %d packets", seed, n, lost)
			}
		})
	}
}
