package rewrite

import (
	"math/rand/v2"
	"testing"
)

func TestNumberingSwitch(t *testing.T) {
	var n Numbering
	n.Switch(3000) // nothing was sent: no effect
	if _, _, ok := n.Last(); ok {
		t.Error("something was sent")
	}
	if _, ok := n.Timestamp(7); ok {
		t.Error("a timestamp of no source")
	}
	if seq, ts, ok := n.Next(100, 1000); !ok || seq != 100 || ts != 1000 {
		t.Fatalf("the first packet becomes %d, %d", seq, ts)
	}
	if ts, ok := n.Timestamp(1500); !ok || ts != 1500 {
		t.Errorf("Timestamp = %d, %v", ts, ok)
	}
	n.Switch(3000)
	if _, ok := n.Timestamp(1500); ok {
		t.Error("a timestamp of the next source, which is not known yet")
	}
	n.Resume() // the switch stays one
	if seq, ts, ok := n.Next(7, 50); !ok || seq != 101 || ts != 4000 {
		t.Errorf("the second source begins with %d, %d", seq, ts)
	}
	if ts, ok := n.Timestamp(60); !ok || ts != 4010 {
		t.Errorf("Timestamp = %d, %v", ts, ok)
	}
	n.Resume()
	if ts, ok := n.Timestamp(60); !ok || ts != 4010 {
		t.Errorf("in a pause: Timestamp = %d, %v", ts, ok)
	}
	n.Switch(0) // after a pause: no tick is too few
	if seq, ts, ok := n.Next(65535, 0); !ok || seq != 102 || ts != 4001 {
		t.Errorf("the third source begins with %d, %d", seq, ts)
	}
	if seq, _, ok := n.Next(0, 3000); !ok || seq != 103 {
		t.Errorf("across the wrap: %d", seq)
	}
	if _, _, ok := n.Next(65534, 0); ok {
		t.Error("a packet from before the stretch got a number")
	}
	if _, _, ok := n.Again(1, 0); ok {
		t.Error("a packet that was never sent is sent again")
	}
	if src, ok := n.Source(102); !ok || src != 65535 {
		t.Errorf("Source(102) = %d, %v", src, ok)
	}
	if _, ok := n.Source(101); ok {
		t.Error("a number of the second source is known")
	}
}

// The subscriber never gets a number twice, whatever the sources lose and
// reorder, and in each stretch the order and the gaps of the source remain.
func TestNumberingWithLossAndReordering(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 3))
		var n Numbering
		given := map[uint16]int{} // number to step
		source := uint16(r.Uint32())
		stretch := map[uint16]uint16{}
		newest := source
		for step := range 5000 {
			switch r.IntN(200) {
			case 0:
				n.Switch(r.Uint32N(9000))
				newest = uint16(r.Uint32())
				clear(stretch)
			case 1:
				n.Resume()
				newest += uint16(r.IntN(20000))
				clear(stretch)
			}
			seq := newest + 1
			if r.IntN(5) == 0 {
				seq += uint16(r.IntN(20)) - 10
			}
			if int16(seq-newest) > 0 {
				newest = seq
			}
			if _, again := stretch[seq]; again {
				continue // the layer takes out what comes twice
			}
			out, ts, ok := n.Next(seq, uint32(seq)*90)
			if !ok {
				continue
			}
			if was, twice := given[out]; twice && step-was < 20000 {
				t.Fatalf("seed %d: %d was given in steps %d and %d", seed, out, was, step)
			}
			given[out] = step
			for other, otherOut := range stretch {
				if out-otherOut != seq-other {
					t.Fatalf("seed %d: %d and %d of the source are %d and %d", seed, other, seq, otherOut, out)
				}
				break // one is enough: the map gives another each time
			}
			stretch[seq] = out
			if again, againTS, ok := n.Again(seq, uint32(seq)*90); !ok || again != out || againTS != ts {
				t.Fatalf("seed %d: %d is %d, and %d when sent again", seed, seq, out, again)
			}
		}
	}
}
