package cluster

import (
	"testing"

	"github.com/talkd/talkd/store"
)

func leafApplied(index uint64, size int) store.Applied {
	a := store.Applied{Index: index, Change: store.Change{Index: index}}
	if size > 0 {
		a.Change.Command = make([]byte, size)
	}
	return a
}

// Whoever reads a feed to its end misses nothing that changed something, and
// who cannot is told so.
func TestFeed(t *testing.T) {
	f := newFeed()
	_, _, _, later := f.since(0)
	for i := uint64(1); i <= 3*feedChanges; i++ {
		size := 1
		if i%3 == 0 {
			size = 0 // refused: it is not kept, and known to be over
		}
		f.add([]store.Applied{leafApplied(i, size)})
	}
	select {
	case <-later:
	default:
		t.Error("who waited sleeps on")
	}
	if _, _, ok, _ := f.since(f.before - 1); ok {
		t.Error("what was forgotten is given")
	}
	if len(f.changes) > feedChanges {
		t.Errorf("%d changes are kept", len(f.changes))
	}
	want := f.before + 1
	for at := f.before; ; {
		changes, upTo, ok, _ := f.since(at)
		if !ok || upTo < at || len(changes) > sendChanges {
			t.Fatalf("since %d: %d changes up to %d, %t", at, len(changes), upTo, ok)
		}
		for _, c := range changes {
			if want%3 == 0 {
				want++
			}
			if c.Index != want {
				t.Fatalf("change %d, want %d", c.Index, want)
			}
			want++
		}
		at = upTo
		if len(changes) == 0 {
			break
		}
	}
	if _, upTo, _, _ := f.since(f.last); upTo != 3*feedChanges || want < upTo {
		t.Errorf("read up to %d, want %d", want, upTo)
	}
	// One who is ahead is given nothing.
	if changes, _, ok, _ := f.since(f.last + 5); !ok || len(changes) != 0 {
		t.Errorf("%d changes for one who is ahead", len(changes))
	}
	f.reset(f.last + 100)
	if _, _, ok, _ := f.since(f.last - 1); ok {
		t.Error("the changes before a snapshot are given")
	}
	if changes, upTo, ok, _ := f.since(f.last); !ok || len(changes) != 0 || upTo != f.last {
		t.Error("who has the snapshot is not given the rest")
	}
}

// The feed is bounded in bytes as well, also by single changes.
func TestFeedIsBounded(t *testing.T) {
	f := newFeed()
	for i := range uint64(100) {
		f.add([]store.Applied{leafApplied(i+1, 1<<20)})
		if f.bytes > feedBytes {
			t.Fatalf("%d bytes are kept", f.bytes)
		}
	}
	changes, upTo, ok, _ := f.since(f.before)
	if !ok || len(changes) != 1 || upTo != changes[0].Index {
		t.Errorf("%d changes of a megabyte in one message", len(changes))
	}
}
