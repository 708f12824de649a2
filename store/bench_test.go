package store

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"testing"
	"time"
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

// The size that the design aims at.
const (
	manyRooms = 300_000
	manyNodes = 1000
)

// manyHomes is a state of that size, made by commands.
func manyHomes(b *testing.B) *log {
	b.Helper()
	l := newLog(b)
	for i := range manyNodes {
		l.must(NewPutNode(t0, testNode(NodeID(fmt.Sprint("n", i)))))
	}
	assignments := make([]Assignment, 0, MaxAssignments)
	for i := range manyRooms {
		// Each room comes from another message, as the texts of a real one do.
		assignments = append(assignments, Assignment{
			Room: RoomID{BackendID(fmt.Sprint("cloud", i%20)), fmt.Sprintf("token%06d", i)},
			Node: NodeID(fmt.Sprint("n", i*7%manyNodes)), Reason: ReasonNew,
		})
		if len(assignments) == MaxAssignments || i == manyRooms-1 {
			l.index++
			if _, err := l.ApplyBatch(encode(b, l.index, NewAssignHomes(t0, assignments))); err != nil {
				b.Fatal(err)
			}
			assignments = assignments[:0]
		}
	}
	if l.Rooms() != manyRooms {
		b.Fatalf("%d rooms", l.Rooms())
	}
	return l
}

func heapInUse() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

func BenchmarkMemory300kHomes(b *testing.B) {
	for b.Loop() {
		before := heapInUse()
		l := manyHomes(b)
		b.ReportMetric((heapInUse()-before)/1e6, "MB")
		runtime.KeepAlive(l)
	}
}

// What Apply waits for: the capture itself, and after it the copies of what
// changes while the snapshot is written.
func BenchmarkCapture300kHomes(b *testing.B) {
	l := manyHomes(b)
	var capture, apply time.Duration
	for i := 0; b.Loop(); i++ {
		began := time.Now()
		s, err := l.Capture()
		if err != nil {
			b.Fatal(err)
		}
		capture = max(capture, time.Since(began))
		for j := range 20 {
			homes := make([]Assignment, 256)
			for k := range homes {
				homes[k] = Assignment{Room: room(fmt.Sprint(i, j, k)), Node: "n1", Reason: ReasonNew}
			}
			l.index++
			entries := encode(b, l.index, NewAssignHomes(t0, homes))
			began = time.Now()
			if _, err := l.ApplyBatch(entries); err != nil {
				b.Fatal(err)
			}
			apply = max(apply, time.Since(began))
		}
		s.Release()
	}
	b.ReportMetric(capture.Seconds()*1e3, "ms/longest-capture")
	b.ReportMetric(apply.Seconds()*1e3, "ms/longest-apply-of-256")
}

func BenchmarkSnapshot300kHomes(b *testing.B) {
	l := manyHomes(b)
	b.SetBytes(int64(len(snapshotOf(b, l.State))))
	b.ReportAllocs()
	for b.Loop() {
		if err := l.Snapshot(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRestore300kHomes(b *testing.B) {
	snap := snapshotOf(b, manyHomes(b).State)
	b.ReportMetric(float64(len(snap))/1e6, "MB")
	s := open(b, b.TempDir())
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Restore(bytes.NewReader(snap)); err != nil {
			b.Fatal(err)
		}
	}
}

// What is asked often must not look at all rooms.
func BenchmarkHomesOf300kHomes(b *testing.B) {
	l := manyHomes(b)
	b.ReportAllocs()
	for b.Loop() {
		if len(l.HomesOf("n7"))+len(l.HomeCounts()) == 0 {
			b.Fatal("none")
		}
	}
}
