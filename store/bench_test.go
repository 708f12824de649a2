package store

import (
	"bytes"
	"fmt"
	"io"
	"testing"
)

func BenchmarkApplyAssignHome(b *testing.B) {
	l := newLog(b)
	l.must(NewPutNode(t0, testNode("n1")))
	const batch = 64
	entries := make([]Entry, 0, batch)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		data, err := NewAssignHome(t0, room(fmt.Sprint("room", i)), "n1", 0, ReasonNew).Encode()
		if err != nil {
			b.Fatal(err)
		}
		l.index++
		if entries = append(entries, Entry{Index: l.index, Data: data}); len(entries) < batch {
			continue
		}
		if _, err := l.ApplyBatch(entries); err != nil {
			b.Fatal(err)
		}
		entries = entries[:0]
	}
}

func BenchmarkApplyPutUser(b *testing.B) {
	for _, batch := range []int{1, 64} {
		b.Run(fmt.Sprint("batch ", batch), func(b *testing.B) {
			l := newLog(b)
			for i := 0; b.Loop(); i++ {
				commands := make([]Command, batch)
				for j := range commands {
					commands[j] = NewPutUser(t0, testUser(fmt.Sprintf("user%d-%d", i, j)))
				}
				if _, err := l.ApplyBatch(encode(b, l.index+1, commands...)); err != nil {
					b.Fatal(err)
				}
				l.index += uint64(batch)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch), "ns/command")
		})
	}
}

// manyHomes is the size design aims at: 300,000 rooms.
func manyHomes(b *testing.B) *log {
	b.Helper()
	l := newLog(b)
	l.must(NewPutNode(t0, testNode("n1")))
	for i := range 300_000 {
		l.mem.lastEpoch++
		l.mem.setHome(RoomID{"cloud", fmt.Sprintf("token%06d", i)}, Home{Node: "n1", Epoch: l.mem.lastEpoch, Created: t0})
	}
	return l
}

// Capture is what Apply waits for.
func BenchmarkCapture300kHomes(b *testing.B) {
	l := manyHomes(b)
	for b.Loop() {
		s, err := l.Capture()
		if err != nil {
			b.Fatal(err)
		}
		s.Release()
	}
}

func BenchmarkSnapshot300kHomes(b *testing.B) {
	l := manyHomes(b)
	b.SetBytes(int64(len(snapshotOf(b, l.State))))
	for b.Loop() {
		if err := l.Snapshot(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRestore300kHomes(b *testing.B) {
	snap := snapshotOf(b, manyHomes(b).State)
	s := open(b, b.TempDir())
	b.SetBytes(int64(len(snap)))
	for b.Loop() {
		if err := s.Restore(bytes.NewReader(snap)); err != nil {
			b.Fatal(err)
		}
	}
}
