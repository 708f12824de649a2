package repair

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// room is how many packets are asked for at once.
const room = 300

func newStream() *Stream {
	return New(Rule{
		Wait: 8 * time.Millisecond, Asks: 6,
		First: 50 * time.Millisecond, Min: 15 * time.Millisecond, Max: 250 * time.Millisecond,
	}, new(Outcomes))
}

// at is a time of the tests.
func at(ms int) time.Time { return time.Unix(1000, 0).Add(time.Duration(ms) * time.Millisecond) }

func ask(r *Stream, ms int) []uint16 { return r.Due(at(ms), make([]uint16, 0, room)) }

func arrive(r *Stream, ms int, seqs ...uint16) {
	for _, s := range seqs {
		r.Arrived(s, at(ms))
	}
}

func TestRepairAsksUntilItComes(t *testing.T) {
	r := newStream()
	arrive(r, 0, 65534, 65535, 2) // 0 and 1 are missing
	if got := ask(r, 7); len(got) != 0 {
		t.Errorf("asked at once: %v", got)
	}
	if got := ask(r, 8); !slices.Equal(got, []uint16{0, 1}) {
		t.Errorf("asked for %v", got)
	}
	if got := ask(r, 30); len(got) != 0 {
		t.Errorf("asked again too early: %v", got)
	}
	arrive(r, 40, 1)
	if got := ask(r, 60); !slices.Equal(got, []uint16{0}) {
		t.Errorf("asked for %v", got)
	}
	arrive(r, 70, 0)
	if next := r.Next(); !next.IsZero() {
		t.Errorf("something is due at %v", next)
	}
	if o := r.outcomes; o.Asked.Load() != 3 || o.Repaired.Load() != 2 || o.Abandoned.Load() != 0 {
		t.Errorf("%d asks, %d repaired, %d abandoned", o.Asked.Load(), o.Repaired.Load(), o.Abandoned.Load())
	}
}

func TestRepairWaitsForTheOvertaken(t *testing.T) {
	r := newStream()
	arrive(r, 0, 1, 4, 3)
	arrive(r, 7, 2)
	if got := ask(r, 1000); len(got) != 0 {
		t.Errorf("asked for %v", got)
	}
	if n := r.outcomes.Repaired.Load(); n != 0 {
		t.Errorf("%d counted as repaired", n)
	}
}

func TestRepairGivesUp(t *testing.T) {
	r := newStream()
	arrive(r, 0, 1, 3)
	var times []int
	for ms := range 2000 {
		if len(ask(r, ms)) > 0 {
			times = append(times, ms)
		}
	}
	if want := []int{8, 58, 158, 358, 608, 858}; !slices.Equal(times, want) {
		t.Errorf("asked at %v, want %v", times, want)
	}
	if n := r.outcomes.Abandoned.Load(); n != 1 || len(r.missing) != 0 {
		t.Errorf("%d abandoned, %d pending", n, len(r.missing))
	}
}

func TestRepairLearnsTheRoundTrip(t *testing.T) {
	r := newStream()
	arrive(r, 0, 1, 3)
	ask(r, 8)
	arrive(r, 108, 2) // a round trip of 100 ms
	arrive(r, 200, 5)
	ask(r, 208)
	if next := r.Next(); !next.Equal(at(358)) {
		t.Errorf("asks again %v after the first, want 150 ms", next.Sub(at(208)))
	}
}

// A round trip longer than the first guess is learned although each packet was
// asked for more than once before its answer came.
func TestRepairLearnsALongRoundTrip(t *testing.T) {
	const trip = 160
	r := newStream()
	asks := map[uint16]int{}
	answers := map[int][]uint16{}
	for ms := range 4000 {
		arrive(r, ms, answers[ms]...)
		if ms%10 == 0 && ms%200 != 100 {
			arrive(r, ms, uint16(ms/10))
		}
		for _, seq := range ask(r, ms) {
			asks[seq]++
			answers[ms+trip] = append(answers[ms+trip], seq)
		}
	}
	for seq, n := range asks {
		if seq > 30 && n != 1 {
			t.Errorf("asked %d times for %d", n, seq)
		}
	}
	if len(asks) != 20 {
		t.Errorf("asked for %d packets", len(asks))
	}
}

func TestRepairMergesWhatListenersWant(t *testing.T) {
	r := newStream()
	if r.Want([]uint16{5}, at(0)) {
		t.Error("asks for packets of a layer that has not begun")
	}
	arrive(r, 0, 10, 12)
	if !r.Want([]uint16{11, 7, 13, 10000}, at(1)) { // known missing; older; to come; nonsense
		t.Error("nothing to ask for")
	}
	if got := ask(r, 1); !slices.Equal(got, []uint16{11, 7}) {
		t.Errorf("asked for %v", got)
	}
	if r.Want([]uint16{11, 7}, at(2)) {
		t.Error("asks again at once")
	}
}

func TestRepairIsBounded(t *testing.T) {
	r := newStream()
	for i := range 400 {
		arrive(r, 0, uint16(i*4))
	}
	if len(r.missing) != maxMissing {
		t.Errorf("%d pending", len(r.missing))
	}
	if got := ask(r, 8); len(got) != room {
		t.Errorf("asked for %d in one frame", len(got))
	}
}

func TestRepairFollowsASenderThatNumbersAnew(t *testing.T) {
	r := newStream()
	arrive(r, 0, 5000, 5002)
	arrive(r, 1, 100, 5003, 101, 40000, 5004, 40002, 5005) // old packets, as probes are, and lone ones
	if r.highest != 5005 || len(r.missing) != 1 {
		t.Errorf("%d missing, highest %d: misled by lone packets", len(r.missing), r.highest)
	}
	for _, jump := range []uint16{30000, 20000} { // forwards, and back
		arrive(r, 9, jump, jump+1)
		if len(r.missing) != 0 || r.highest != jump+1 {
			t.Errorf("after the jump to %d: %d missing, highest %d", jump, len(r.missing), r.highest)
		}
	}
	if n := r.outcomes.Abandoned.Load(); n != 1 {
		t.Errorf("%d abandoned", n)
	}
}

func TestRepairGivesUpWhatIsTooOld(t *testing.T) {
	r := newStream()
	arrive(r, 0, 0, 2)
	for seq := range uint16(reach) {
		arrive(r, 1, seq+2)
	}
	if got := ask(r, 8); len(got) != 0 || r.outcomes.Abandoned.Load() != 1 {
		t.Errorf("asked for %v, which is older than any history", got)
	}
}

func TestRepairHastensOnlyWhatIsMissing(t *testing.T) {
	r := newStream()
	arrive(r, 0, 10, 12)
	if r.Hasten([]uint16{10, 9, 13}, at(1)) {
		t.Error("asks for what came, and what was never noticed")
	}
	if !r.Hasten([]uint16{11}, at(1)) {
		t.Error("does not hasten")
	}
	if got := ask(r, 1); !slices.Equal(got, []uint16{11}) {
		t.Errorf("asked for %v", got)
	}
	if r.Hasten([]uint16{11}, at(2)) {
		t.Error("asks again at once")
	}
}

// Whatever is lost of packets, requests and answers with a probability below
// one half is there in the end, and nothing is asked for that came.
func TestRepairProperty(t *testing.T) {
	for seed := range uint64(50) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		loss := rnd.Float64() * 0.3
		r := newStream()
		got, asks := make(map[uint16]bool), make(map[uint16]int)
		first := uint16(rnd.Uint32())
		const packets = 2000
		for i := range packets {
			seq := first + uint16(i)
			if i == 0 || i == packets-1 || rnd.Float64() >= loss {
				got[seq] = true
				arrive(r, i*3, seq)
			}
			for _, s := range ask(r, i*3) {
				if got[s] {
					t.Fatalf("seed %d: asked for %d, which came", seed, s)
				}
				if asks[s]++; asks[s] > r.rule.Asks {
					t.Fatalf("seed %d: asked %d times for %d", seed, asks[s], s)
				}
				if rnd.Float64() >= 2*loss*(1-loss/2)*0.5 { // the request and the answer come through
					got[s] = true
					arrive(r, i*3, s)
				}
			}
		}
		for i := range 1000 {
			for _, s := range ask(r, packets*3+i) {
				got[s] = true
				arrive(r, packets*3+i, s)
			}
		}
		if n := r.outcomes.Abandoned.Load(); uint64(len(got))+n != packets || n > packets/100 {
			t.Fatalf("seed %d: %d of %d packets, %d abandoned", seed, len(got), packets, n)
		}
	}
}
