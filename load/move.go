package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/talkd/talkd/signaling/wire"
)

// How long a move may take, as our own client has it.
const (
	moveWithin   = 8 * time.Second
	doneWithin   = 4 * time.Second
	lingersMoved = 3 * time.Second // the old connections, for what is on its way
)

// errMove tells why a move was given up.
var errMove = errors.New("load: move given up")

// move goes to another node, the new connections first. Whatever goes wrong
// before the end, the person stays where it is.
func (p *Person) move(order *wire.Move) {
	asked := p.plan.Clock()
	old := p.body
	b, err := p.warm(order)
	p.mu.Lock()
	if p.order == order {
		p.order = nil
	}
	p.mu.Unlock()
	i := Incident{What: "moved", Why: order.Reason, At: asked, Back: p.plan.Clock(), Session: true, Media: true, InRoom: true}
	if err != nil {
		i.What, i.Why, i.Node = "move failed", err.Error(), old.node
	} else {
		i.Node = b.node
		p.retire(old, lingersMoved)
	}
	p.note(i)
}

// warm makes a second body at the node of the order and goes over to it when
// its connections bring as much as the first's.
func (p *Person) warm(order *wire.Move) (*body, error) {
	limit := moveWithin
	if d := time.Duration(order.DeadlineMS) * time.Millisecond; d > 0 {
		limit = min(limit, d)
	}
	ctx, cancel := context.WithTimeout(p.ctx, limit+doneWithin)
	defer cancel()
	until := p.plan.Clock() + limit

	params, err := json.Marshal(map[string]string{"ticket": order.Ticket})
	if err != nil {
		return nil, err
	}
	s, err := open(ctx, order.URL, nil)
	if err != nil {
		return nil, err
	}
	hello, err := s.greet(ctx, wire.Hello{Version: wire.Version, Features: features(), Auth: &wire.Auth{Type: wire.AuthTicket, Params: params}})
	if err == nil && !hello.Moving {
		err = fmt.Errorf("%w: the session is not on its way", errMove)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	b := p.newBody(&dialled{socket: s, hello: hello, node: nodeOf(order.URL)})
	b.warm = true
	b.attach(s)
	give := func(err error) (*body, error) {
		p.mouth.remove(b.pub)
		_ = b.current().write(p.ctx, moveMessage(wire.MoveAbort)) // it notices
		b.drop()
		return nil, err
	}
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	for !p.warmed(b) && p.plan.Clock() < until {
		p.mend(b)
		p.mend(p.body) // others may come and go meanwhile
		select {
		case <-ctx.Done():
			return give(ctx.Err())
		case <-b.ctx.Done():
			return give(context.Cause(b.ctx))
		case <-tick.C:
		}
	}
	done, cancelDone := context.WithTimeout(p.ctx, doneWithin)
	defer cancelDone()
	return p.finish(done, b, hello.ResumeID, give)
}

// warmed tells whether the second body sends, and hears all that the first does.
func (p *Person) warmed(b *body) bool {
	if b.pub == nil {
		return false
	}
	select {
	case <-b.pub.ready:
	default:
		return false
	}
	for id, s := range p.body.subs {
		n := b.subs[id]
		if s.audio.begun() && (n == nil || !n.audio.begun()) || s.video.begun() && (n == nil || !n.video.begun()) {
			return false
		}
	}
	return true
}

// finish says that the second body is the person now, and makes it so.
func (p *Person) finish(ctx context.Context, b *body, resume string, give func(error) (*body, error)) (*body, error) {
	// What the room says from the answer on is for the new body.
	p.mu.Lock()
	old := p.body
	p.body = b
	p.mu.Unlock()
	if _, err := b.ask(ctx, moveMessage(wire.MoveDone)); err != nil {
		p.mu.Lock()
		p.body = old
		p.mu.Unlock()
		return give(err)
	}
	b.warm = false
	p.mu.Lock()
	p.resume, p.lost = resume, nil
	p.mu.Unlock()
	return b, nil
}

func moveMessage(state string) wire.ClientMessage {
	return wire.ClientMessage{Type: wire.TypeMove, Move: &wire.MoveState{State: state}}
}

// nodeOf is the base URL of a socket's.
func nodeOf(socket string) string {
	base, _, _ := strings.Cut(strings.Replace(socket, "ws", "http", 1), "/spreed")
	return base
}
