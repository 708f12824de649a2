package load

import (
	"context"
	"slices"
	"time"

	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// retryMedia is until a connection that failed is made anew, as our own client
// has it.
const retryMedia = 500 * time.Millisecond

// A body on its way begins one connection each step, or more of many so that all
// are begun in so many steps, and one that has been left ends them in the same way:
// nobody waits for that, and doing all at once, as everybody else who moves does,
// takes the time that what flows needs. Our own client has the same.
const (
	step  = 100 * time.Millisecond
	steps = 20
)

// body is what a person has at one node.
type body struct {
	*Client
	node string
	pub  *Publisher
	subs map[store.SessionID]*subscribed
	next time.Duration // no connection is tried before
	warm bool          // on its way
}

type subscribed struct {
	*Subscription
	audio, video *track
}

func (p *Person) newBody(d *dialled) *body {
	b := &body{
		Client: newClient(Network{IP: p.plan.IP}, p.plan.Clock, d.socket),
		node:   d.node, subs: make(map[store.SessionID]*subscribed),
	}
	b.session = d.hello.SessionID
	b.hear = func(m wire.ServerMessage) { p.hear(b, m) }
	b.lost = func(err error) { p.lose(b, err) }
	return b
}

// perStep is how many of all are due in one step.
func perStep(all int) int { return (all + steps - 1) / steps }

// retire ends a body without a word, after a while in which it still sends and
// hears less and less.
func (p *Person) retire(b *body, after time.Duration) {
	p.tasks.Go(func() {
		tick := time.NewTicker(step)
		defer tick.Stop()
		few := perStep(len(b.subs))
		for until := p.plan.Clock() + after; p.plan.Clock() < until && p.ctx.Err() == nil && b.ctx.Err() == nil; {
			select {
			case <-tick.C:
				b.hearLess(few)
			case <-b.ctx.Done():
			case <-p.ctx.Done():
			}
		}
		p.mouth.remove(b.pub)
		b.drop()
	})
}

// hearLess ends some subscriptions.
func (b *body) hearLess(few int) {
	for id, s := range b.subs {
		if few == 0 {
			return
		}
		few--
		b.forget(s.peer)
		delete(b.subs, id)
	}
}

// settle makes a body of a socket that has greeted, in the room and the call.
func (p *Person) settle(ctx context.Context, d *dialled) error {
	b := p.newBody(d)
	p.mu.Lock()
	if d.fresh {
		p.seat = d.seat
	}
	clear(p.inCall) // all are named anew
	old, seat := p.body, p.seat
	p.body, p.lost = b, nil // before anything is heard
	p.mu.Unlock()
	b.attach(d.socket)
	inRoom := d.hello.Resumed != nil && d.hello.Resumed.Room != ""
	if !inRoom {
		if err := b.Join(ctx, p.plan.Room, seat); err != nil {
			p.mu.Lock()
			p.body = old
			p.mu.Unlock()
			b.drop()
			return err
		}
	}
	p.mu.Lock()
	p.resume = d.hello.ResumeID
	p.mu.Unlock()
	if old != nil {
		p.retire(old, 0)
	}
	if d.fresh {
		return p.door.Call(ctx, d.node, seat, Camera())
	}
	return nil
}

// mend makes the connections that should be there and are not.
func (p *Person) mend(b *body) {
	now := p.plan.Clock()
	if now < b.next {
		return
	}
	if b.pub != nil && b.pub.Err() != nil {
		p.mouth.remove(b.pub)
		b.forget(b.pub.peer)
		b.pub, b.next = nil, now+retryMedia
		return
	}
	if b.pub == nil {
		pub, err := b.offer(b.ctx, p.plan.Number, Camera(), p.mouth.keyframe)
		if err != nil {
			b.next = now + retryMedia
			return
		}
		b.pub = pub
		p.mouth.add(pub)
		if b.warm {
			b.next = now + step
			return
		}
	}
	wanted := p.wanted()
	most := len(wanted)
	if b.warm {
		most, b.next = perStep(most), now+step
	}
	for id, s := range b.subs {
		if s.Err() != nil || !slices.Contains(wanted, id) {
			b.forget(s.peer)
			delete(b.subs, id)
			if s.Err() != nil {
				b.next = now + retryMedia
			}
		}
	}
	for _, id := range wanted {
		if b.subs[id] != nil {
			continue
		}
		if most == 0 {
			return
		}
		most--
		s := &subscribed{audio: newTrack(p.ears, Audio), video: newTrack(p.ears, Video)}
		var err error
		s.Subscription, err = b.request(peerKey{id, wire.RoomTypeVideo}, func(k Kind) sink {
			if k == Audio {
				return s.audio
			}
			return s.video
		})
		if err != nil {
			b.next = now + retryMedia
			return
		}
		b.subs[id] = s
	}
}

// wanted are the sessions whose media are to be heard.
func (p *Person) wanted() []store.SessionID {
	const sends = backend.FlagAudio | backend.FlagVideo
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []store.SessionID
	for id, flags := range p.inCall {
		if flags&sends != 0 {
			all = append(all, id)
		}
	}
	return all
}
