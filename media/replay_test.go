package media

import (
	"slices"
	"testing"
	"time"
)

// begun is a layer of video that has sent packets from first on, of which the
// keyframes begin with those of keys, and a receiver who opens all that a listener
// gets.
func begun(t *testing.T, first, last uint16, keys ...uint16) (*feed, *layer, *opener, *pushed) {
	t.Helper()
	o := newOpener(t)
	f, _, _ := fan(t, 0)
	l := f.layers[0][0]
	l.net.burst = func() burst { return o }
	asked := &pushed{}
	l.up.Store(&uplink{feedback: asked})
	var pool Pool
	for seq := first; seq != last+1; seq++ {
		key := false
		for _, k := range keys {
			key = key || k == seq
		}
		l.forward([]*Packet{frame(&pool, seq, key)}, flush)
	}
	return f, l, o, asked
}

// Who comes just after a keyframe begins with it at once, and goes on with what comes.
func TestReplay(t *testing.T) {
	f, l, o, asked := begun(t, 65530, 6, 65531, 2)
	d := listening(t, f, negotiated{ssrc: 7}, 1)
	if len(o.seen) != 5 || asked.keyframes != 0 {
		t.Fatalf("%d packets, asked for %d keyframes", len(o.seen), asked.keyframes)
	}
	var pool Pool
	for seq := range uint16(3) {
		l.forward([]*Packet{frame(&pool, 7+seq, false)}, flush)
	}
	if seq, _, _ := d.numbering.Last(); len(o.seen) != 8 || seq != 9 {
		t.Errorf("%d packets, the last one is %d", len(o.seen), seq)
	}
	if d.packets != 8 || d.stats.packetsOut.Load() == 0 {
		t.Errorf("%d packets counted", d.packets)
	}
	d.resend([]uint16{3})
	if len(o.seen) != 9 { // by RTX
		t.Error("what was replayed is not sent again")
	}
}

// What is on its way to all who listen when somebody comes, is sent to him once.
func TestReplayOfWhatIsOnItsWay(t *testing.T) {
	f, l, o, _ := begun(t, 1, 3, 2)
	var pool Pool
	p := frame(&pool, 4, false)
	l.ring.Put(4, p)
	listening(t, f, negotiated{ssrc: 7}, 1)
	l.write(*l.sinks.Load(), []*Packet{p}, flush)
	if len(o.seen) != 3 || o.again != 0 {
		t.Errorf("%d packets, %d of them again", len(o.seen), o.again)
	}
}

// What cannot be begun with, or is not worth it, is not replayed: the publisher is
// asked.
func TestNoReplay(t *testing.T) {
	for name, c := range map[string]func(*layer){
		"old":         func(l *layer) { l.key.Load().at = time.Now().Add(-keyframeInterval) },
		"none":        func(l *layer) { l.key.Store(nil) },
		"out of date": func(l *layer) { l.epoch.Add(1) },
		"too much": func(l *layer) {
			var pool Pool
			for seq := range uint16(maxReplay) {
				l.forward([]*Packet{frame(&pool, 4+seq, false)}, flush)
			}
		},
		"its beginning is lost": func(l *layer) { l.ring.Clear() },
	} {
		t.Run(name, func(t *testing.T) {
			f, l, o, asked := begun(t, 1, 3, 2)
			c(l)
			listening(t, f, negotiated{ssrc: 7}, 1)
			if len(o.seen) != 0 || asked.keyframes != 1 {
				t.Errorf("%d packets, asked for %d keyframes", len(o.seen), asked.keyframes)
			}
		})
	}
}

// A keyframe whose beginning comes late, after the next one, is not the last one.
func TestLastKeyframe(t *testing.T) {
	_, l, _, _ := begun(t, 10, 12, 11)
	var pool Pool
	l.forward([]*Packet{frame(&pool, 9, true)}, flush)
	if k := l.key.Load(); k.seq != 11 {
		t.Errorf("the last one begins with %d", k.seq)
	}
}

// A track that shows something already is not set back.
func TestReplayIsForBeginners(t *testing.T) {
	f, l, o, _ := begun(t, 1, 3, 2)
	d := listening(t, f, negotiated{ssrc: 7}, 1)
	off, on := false, true
	d.choose(&off, nil)
	d.choose(&on, nil)
	if len(o.seen) != 2 {
		t.Errorf("%d packets after a pause", len(o.seen))
	}
	var pool Pool
	l.forward([]*Packet{frame(&pool, 4, true)}, flush)
	if seq, _, _ := d.numbering.Last(); len(o.seen) != 3 || seq != 4 {
		t.Errorf("%d packets, the last one is %d", len(o.seen), seq)
	}
}

// What another node begins anew with was shown already, as far as it was: the picture
// does not go back.
func TestPastIsNotShownAgain(t *testing.T) {
	f, l, o, _ := begun(t, 100, 110, 100)
	d := listening(t, f, negotiated{ssrc: 7}, 1)
	before := len(o.seen)
	l.epoch.Add(1) // the way was lost, and is there again
	l.ring.Clear()
	var pool Pool
	for seq := uint16(105); seq < 115; seq++ {
		l.forward([]*Packet{frame(&pool, seq, seq == 105)}, flush)
	}
	if len(o.seen) != before {
		t.Errorf("%d packets from before", len(o.seen)-before)
	}
	for seq := uint16(115); seq < 120; seq++ {
		l.forward([]*Packet{frame(&pool, seq, seq == 115)}, flush)
	}
	if seq, _, _ := d.numbering.Last(); len(o.seen) != before+5 || seq != 115 {
		t.Errorf("%d packets after the next keyframe, the last one is %d", len(o.seen)-before, seq)
	}
}

// A sink is given what came since a keyframe of just now, once, or nothing.
func TestPastOfALayer(t *testing.T) {
	f, l, _, _ := begun(t, 1, 6, 3)
	k := &kept{}
	a, err := f.attach(0, 0, k)
	if err != nil {
		t.Fatal(err)
	}
	if !a.Past() || !slices.Equal(k.seqs, []uint16{3, 4, 5, 6}) {
		t.Errorf("given %v", k.seqs)
	}
	l.key.Load().at = time.Now().Add(-keyframeInterval)
	if a.Past() || len(k.seqs) != 4 {
		t.Errorf("given %v, of which the keyframe is old", k.seqs)
	}
}
