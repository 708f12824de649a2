package load

import (
	"context"
	"errors"
	"time"
)

// As our own client has them.
const (
	stallAfter = time.Second             // media that flowed have come to a stop
	pongWithin = 1500 * time.Millisecond // else the connection is lost
	pingEvery  = 10 * time.Second
	retryRound = 500 * time.Millisecond
)

// doubt is the question for a sign of life that was asked last.
type doubt struct {
	socket *socket
	asked  time.Duration
	frames uint64        // that had come then
	stall  time.Duration // when media had come last, if that was the reason
	open   bool
}

// doubt asks the node for a sign of life when nothing comes any more, and now
// and then in any case. Without one the connection is lost.
func (p *Person) doubt() {
	now, last := p.plan.Clock(), p.ears.last()
	s, d := p.body.current(), &p.doubted
	if d.socket != s {
		*d = doubt{socket: s, asked: now} // it has just greeted
	}
	switch {
	case d.open && s.frames.Load() != d.frames:
		d.open = false
	case d.open:
		if now-d.asked > pongWithin {
			p.lose(p.body, errSilent)
		}
		return
	}
	stalled := last > 0 && now-last > stallAfter && last != d.stall
	if stalled || now-d.asked > pingEvery {
		*d = doubt{socket: s, asked: now, frames: s.frames.Load(), open: true, stall: last}
		_ = s.ping(p.ctx) // a socket that takes nothing gives nothing
	}
}

var errSilent = errors.New("no sign of life")

// lose notes that a body's socket has ended.
func (p *Person) lose(b *body, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b != p.body || p.lost != nil {
		return
	}
	p.lost, p.lostAt = err, p.plan.Clock()
	p.wake()
}

// comeBack takes the session up through whichever node can.
func (p *Person) comeBack(why error) {
	p.mu.Lock()
	b, resume, at := p.body, p.resume, p.lostAt
	p.order = nil
	p.mu.Unlock()
	old := b.session
	for p.ctx.Err() == nil {
		d, err := p.dial(p.ctx, b.node, resume)
		if err == nil {
			back := p.plan.Clock()
			if err = p.takeUp(d); err == nil {
				r := d.hello.Resumed
				p.note(Incident{
					What: "lost", Why: why.Error(), At: at, Back: back, Node: d.node, Session: d.hello.SessionID == old,
					Media: !d.fresh && (r == nil || r.Media), InRoom: !d.fresh && (r == nil || r.Media || r.Room != ""),
				})
				return
			}
		}
		p.note(Incident{What: "round failed", Why: err.Error(), At: at, Back: p.plan.Clock()})
		timer := time.NewTimer(retryRound)
		select {
		case <-timer.C:
		case <-p.ctx.Done():
		}
		timer.Stop()
	}
}

// takeUp goes on over a new socket: with the connections there are, or with new
// ones.
func (p *Person) takeUp(d *dialled) error {
	if d.fresh || d.hello.Resumed != nil && !d.hello.Resumed.Media {
		ctx, cancel := context.WithTimeout(p.ctx, helloWithin)
		defer cancel()
		return p.settle(ctx, d)
	}
	p.mu.Lock()
	p.lost, p.resume = nil, d.hello.ResumeID
	b := p.body
	b.node = d.node
	p.mu.Unlock()
	b.attach(d.socket)
	return nil
}
