package media

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// brought is a source whose layer has subscribers, at ports from 1 on. Its
// goroutine ends with the test.
func brought(t *testing.T, subscribers int) (*trackSource, *nowhere, *network) {
	t.Helper()
	f, _, end := fan(t, subscribers)
	s := newTrackSource(&section{kind: Video, format: usual(Video)}, func() { t.Error("dropped") })
	l := f.layers[0][0]
	ended := make(chan error)
	go func() { ended <- l.pump(s) }()
	t.Cleanup(func() {
		_ = s.Close()
		if err := <-ended; !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
	synctest.Wait()
	// A keyframe, without which a subscriber gets nothing.
	s.bring(frame(new(Pool), 1, true))
	synctest.Wait()
	return s, end, l.net
}

func (t *trackSource) bring(packets ...*Packet) {
	t.fresh = append(t.fresh, packets...)
	t.deliver()
	t.forward()
}

// What is little work is done by who brings the packets, and needs no other
// goroutine.
func TestLittleIsForwardedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var pool Pool
		s, end, _ := brought(t, 2)
		for seq := uint16(2); seq < 20; seq += 2 {
			s.bring(frame(&pool, seq, false), frame(&pool, seq+1, false))
			for port := 1; port <= 2; port++ {
				if n := end.packets[port]; n != int(seq)+1 {
					t.Fatalf("%d packets for %d", n, port)
				}
			}
		}
	})
}

// All else is left to the layer's goroutine.
func TestMuchIsForwardedByTheLayer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var pool Pool
		s, end, _ := brought(t, lightWork/2)
		s.mu.Lock()
		s.turn = bringer // holds up the goroutine
		s.mu.Unlock()
		for seq := uint16(2); seq < 5; seq++ {
			s.bring(frame(&pool, seq, false))
		}
		synctest.Wait()
		if n := end.packets[1]; n != 1 {
			t.Fatalf("%d packets without the turn", n)
		}
		s.pass()
		synctest.Wait()
		if n := end.packets[1]; n != 4 {
			t.Errorf("%d packets", n)
		}
		s.bring(frame(&pool, 5, false), frame(&pool, 6, false), frame(&pool, 7, false))
		synctest.Wait()
		if n := end.packets[1]; n != 7 {
			t.Errorf("%d packets", n)
		}
	})
}

// narrow has no room until it is made.
type narrow struct {
	nowhere
	room chan struct{}
}

func (*narrow) TryFlush() bool { return false }
func (n *narrow) Flush() int   { <-n.room; return 0 }

// Who brings packets waits for nobody: when there is no room what comes next
// stays behind what came before, until there is.
func TestBringerDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var pool Pool
		s, end, n := brought(t, 2)
		full := &narrow{room: make(chan struct{})}
		n.burst = func() burst { return full }
		s.bring(frame(&pool, 2, false))
		n.burst = func() burst { return end }
		s.bring(frame(&pool, 3, false))
		synctest.Wait()
		if full.packets[1] != 1 || end.packets[1] != 1 {
			t.Errorf("%d without room, %d overtook", full.packets[1], end.packets[1]-1)
		}
		full.room <- struct{}{}
		synctest.Wait()
		s.bring(frame(&pool, 4, false))
		if end.packets[1] != 3 {
			t.Errorf("%d packets when there was room", end.packets[1])
		}
	})
}

// What somebody else seals for is left to the layer's goroutine: the lock may be
// held while there is no room.
func TestBringerWaitsForNoLock(t *testing.T) {
	f, tracks, _ := fan(t, 2)
	l := f.layers[0][0]
	if !l.light(1) {
		t.Error("left to the goroutine")
	}
	tracks[1].mu.Lock()
	defer tracks[1].mu.Unlock()
	if l.light(1) {
		t.Error("would wait for a lock")
	}
}

// A panic is that of who brings the packets, and leaves nobody waiting.
func TestPanicGivesTheTurnBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var pool Pool
		s, end, n := brought(t, 2)
		n.burst = func() burst { panic("of a burst") }
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			s.bring(frame(&pool, 2, false))
		}()
		n.burst = func() burst { return end }
		s.bring(frame(&pool, 3, false))
		if end.packets[1] != 2 {
			t.Errorf("%d packets", end.packets[1])
		}
	})
}

// Nobody is woken for a voice that is not heard. When it is, it goes to all who listen,
// once and without gaps, whoever has found that it is.
func TestUnheardWakesNobody(t *testing.T) {
	const subscribers = 50
	end := &nowhere{}
	f := newFeed(Publication{Tracks: []TrackInfo{{Kind: Audio, Codec: codecVP8(), Layers: []LayerInfo{{}}}}}, &group{},
		&network{burst: func() burst { return end }})
	l := f.layers[0][0]
	all := theatre(t, 1, 2)
	l.voice = all[0].v
	var tracks []*downTrack
	for i := range subscribers {
		tracks = append(tracks, listening(t, f, negotiated{ssrc: 7}, i+1))
	}
	s := newTrackSource(&section{kind: Audio, format: usual(Audio)}, func() { t.Error("dropped") })
	s.feed(l)
	now := time.Now()
	speak := func(packets, mine, other int) {
		for range packets {
			now = now.Add(audioFrame)
			all[1].say(other, now)
			s.bring(all[0].packet(mine, now))
		}
	}
	goroutine := func() {
		batch := make([]*Packet, batchSize)
		n, err := s.Read(batch)
		if err != nil {
			t.Fatal(err)
		}
		l.forward(batch[:n], flush)
	}
	speak(20, 0, 90)
	if len(s.queue) != 0 || s.turn != nobody {
		t.Fatalf("%d packets wait for the goroutine", len(s.queue))
	}
	if n := l.stats.packetsIn.Load(); n != 20 || !l.alive(now) {
		t.Errorf("%d packets have come", n)
	}
	all[1].v.leave()
	speak(5, 90, 0)
	if len(s.queue) != 5 || end.packets[1] != 0 {
		t.Fatalf("%d packets wait for the goroutine, %d were sent by who brought them", len(s.queue), end.packets[1])
	}
	goroutine()
	first, _, _ := tracks[0].numbering.Last()
	speak(5, 90, 0) // the goroutine has the turn
	goroutine()
	for i, d := range tracks {
		if seq, _, _ := d.numbering.Last(); end.packets[i+1] != 10 || seq != first+5 {
			t.Fatalf("%d packets for %d, from %d to %d", end.packets[i+1], i, first, seq)
		}
	}
}
