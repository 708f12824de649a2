package media

import (
	"sync/atomic"
	"time"

	"github.com/pion/rtcp"

	"github.com/talkd/talkd/media/repair"
)

const (
	// maxAsked bounds one round of requests, so that they fit a packet: each
	// takes at most four bytes.
	maxAsked = 240
	// askSpacing is the shortest time between two rounds: what is found missing
	// meanwhile goes together.
	askSpacing = 5 * time.Millisecond
)

// askRule is when a publisher is asked for a lost packet: eight times within
// 2.3 s at the first guess of the round trip. Min is longer than a round trip
// may be, as senders pace what they send again.
func askRule() repair.Rule {
	return repair.Rule{
		Wait: 8 * time.Millisecond, Asks: 8,
		First: 50 * time.Millisecond, Min: 50 * time.Millisecond, Max: 500 * time.Millisecond,
	}
}

// asker asks a publisher for the video packets that are lost on the way here.
//
//	trackSource ──arrived──▶ askedLayer ─┐
//	Feedback ───────hasten──▶     "      ├─▶ asker.run ─▶ one NACK per layer and round
//
// It is ours because the library's does not notice what came by RTX, and asks on.
type asker struct {
	write  func([]rtcp.Packet) error
	wake   chan struct{} // something is to be asked for
	layers map[origin]*askedLayer
}

// askedLayer is what is missing of one layer.
type askedLayer struct {
	asker  *asker
	ssrc   *atomic.Uint32 // 0 before it is known
	stream *repair.Stream
}

func newAsker(write func([]rtcp.Packet) error) *asker {
	return &asker{write: write, wake: make(chan struct{}, 1), layers: map[origin]*askedLayer{}}
}

// add is for before run.
func (a *asker) add(at origin, ssrc *atomic.Uint32, o *repair.Outcomes) *askedLayer {
	l := &askedLayer{asker: a, ssrc: ssrc, stream: repair.New(askRule(), o)}
	a.layers[at] = l
	return l
}

// arrived takes note of a packet.
func (l *askedLayer) arrived(seq uint16, now time.Time) {
	if l.stream.Arrived(seq, now) {
		l.asker.poke()
	}
}

// hasten is for packets that somebody waits for. What came is in the history,
// and what is neither there nor missing is too old.
func (l *askedLayer) hasten(seqs []uint16, now time.Time) {
	if l.stream.Hasten(seqs, now) {
		l.asker.poke()
	}
}

func (a *asker) poke() {
	select {
	case a.wake <- struct{}{}:
	default: // it is awake
	}
}

// run asks for what is due until done.
func (a *asker) run(done <-chan struct{}) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	seqs := make([]uint16, 0, maxAsked)
	var earliest time.Time // of the next round
	for {
		select {
		case <-done:
			return
		case <-a.wake:
		case <-timer.C:
		}
		if now := time.Now(); !now.Before(earliest) && a.round(now, seqs) {
			earliest = now.Add(askSpacing)
		}
		var next time.Time
		for _, l := range a.layers {
			next = repair.Earlier(next, l.stream.Next())
		}
		switch {
		case next.IsZero():
			timer.Stop()
		case next.Before(earliest):
			timer.Reset(time.Until(earliest))
		default:
			timer.Reset(time.Until(next))
		}
	}
}

// round asks for what is due of all layers, in one packet; false when that is
// nothing. What finds no room is due in the next round.
func (a *asker) round(now time.Time, seqs []uint16) bool {
	var requests []rtcp.Packet
	for _, l := range a.layers {
		from := len(seqs)
		seqs = l.stream.Due(now, seqs)
		if len(seqs) == from {
			continue
		}
		requests = append(requests, &rtcp.TransportLayerNack{
			MediaSSRC: l.ssrc.Load(), Nacks: rtcp.NackPairsFromSequenceNumbers(seqs[from:]),
		})
	}
	if len(requests) == 0 {
		return false
	}
	_ = a.write(requests) // fails at the end of the connection, which others tell
	return true
}
