package signaling

import (
	"sync"
	"time"
)

// pings is when which client is asked for a sign of life. A node where nothing is said does
// little else, so that its clients take turns, each turn for all of them that are due
// within a tenth of a second: to wake up costs several times what it costs to ask.
type pings struct {
	hub   *Hub
	began time.Time

	mu    sync.Mutex
	turns map[int64]*pingTurn // guarded by mu; by their end, in steps since began
}

const pingStep = 100 * time.Millisecond

type pingTurn struct {
	timer *time.Timer
	conns map[*conn]struct{}
}

func newPings(h *Hub) *pings {
	return &pings{hub: h, began: time.Now(), turns: make(map[int64]*pingTurn)}
}

// noTurn is that of a connection that is over.
const noTurn = -1

// set has a connection asked after some time, and not before.
func (p *pings) set(c *conn, after time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.turn == noTurn {
		return
	}
	p.leaveLocked(c)
	now := time.Since(p.began)
	c.turn = int64((now+after)/pingStep) + 1
	t := p.turns[c.turn]
	if t == nil {
		t = &pingTurn{conns: make(map[*conn]struct{})}
		turn := c.turn
		t.timer = time.AfterFunc(time.Duration(turn)*pingStep-now, func() { p.take(turn) })
		p.turns[turn] = t
	}
	t.conns[c] = struct{}{}
}

// forget is for a connection that ends.
func (p *pings) forget(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leaveLocked(c)
	c.turn = noTurn
}

func (p *pings) leaveLocked(c *conn) {
	t := p.turns[c.turn]
	if t == nil {
		return
	}
	if delete(t.conns, c); len(t.conns) == 0 {
		t.timer.Stop()
		delete(p.turns, c.turn)
	}
}

// take asks all whose turn it is.
func (p *pings) take(turn int64) {
	if !p.hub.begin() {
		return
	}
	defer p.hub.end()
	p.mu.Lock()
	t := p.turns[turn]
	delete(p.turns, turn)
	p.mu.Unlock()
	if t == nil {
		return
	}
	for c := range t.conns {
		c.ask()
	}
}
