package signaling

import (
	"context"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/store"
)

// pulse is what a stream between two nodes tells of the other end. A node that
// hangs keeps its sockets open, and one that does not hear us may go on speaking,
// so that each beat says which beat of the other end was heard last: whoever is
// not heard gives the stream up as well as who does not hear.
//
// Nothing is counted in time, but in the ticks that this process has had: on a
// machine that gives it no time, it does not take that for the silence of others.
// And a stream that is given up without need is opened again, rooms make up for
// what they missed, and no client notices.
type pulse struct {
	received atomic.Uint64 // frames of any kind
	theirs   atomic.Uint64 // the number of their last beat
	ours     atomic.Uint64 // the number of our last beat
	echo     atomic.Uint64 // the last of ours that they have heard
}

// beat is the next one. It is a frame about no room, without a body.
func (p *pulse) beat() *signalpb.Frame {
	return &signalpb.Frame{Seq: p.ours.Add(1), Heard: p.theirs.Load()}
}

func (p *pulse) heard(f *signalpb.Frame) {
	p.received.Add(1)
	if f.GetRoom() == nil && f.GetBody() == nil && f.GetSeq() > 0 {
		p.theirs.Store(f.GetSeq())
		p.echo.Store(f.GetHeard())
	}
}

// silentAfter is how many halves of a beat may pass without a sign of life: two
// and a half to three beats.
const silentAfter = 5

// watch returns true when the other end is silent, or deaf; false when ctx ends.
func (p *pulse) watch(ctx context.Context, beat time.Duration) bool {
	tick := time.NewTicker(beat / 2)
	defer tick.Stop()
	var received, echo uint64
	for silent, deaf := 0, 0; silent < silentAfter && deaf < silentAfter; {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
		silent, deaf = silent+1, deaf+1
		if now := p.received.Load(); now != received {
			received, silent = now, 0
		}
		if now := p.echo.Load(); now != echo || now == p.ours.Load() {
			echo, deaf = now, 0
		}
	}
	return true
}

// silent ends the connections of clients that run over a node that hangs. They
// come back, to any node.
func (h *Hub) silent(id store.NodeID) {
	h.mu.Lock()
	conns := keys(h.conns)
	h.mu.Unlock()
	for _, c := range conns {
		if c.via == id {
			c.abandon()
		}
		if t := c.fronted(); t != nil && t.node == id {
			t.cancel()
		}
	}
}

// held is a message for a session of a node that there is no stream to.
type held struct {
	frame *signalpb.Frame
	at    time.Time
}

// What is held back for the next stream, and for how long.
const (
	maxHeld      = 256
	maxHeldBytes = 256 << 10
	oldHeld      = 10 * time.Second
)

// holdLocked keeps what belongs to no room: rooms have their own ways to make up
// for what is lost.
func (p *peer) holdLocked(f *signalpb.Frame) {
	if f.GetDirect() == nil && f.GetUser() == nil {
		return
	}
	p.held = append(p.held, held{f, time.Now()})
	p.held = newest(p.held, maxHeld, maxHeldBytes, func(h held) int { return proto.Size(h.frame) })
}

func (p *peer) sendHeldLocked() {
	for _, h := range p.held {
		if size := proto.Size(h.frame); time.Since(h.at) < oldHeld && size <= maxLinkFrame {
			p.out <- h.frame // there is room for far more
			p.bytes += size
		}
	}
	p.held = nil
}
