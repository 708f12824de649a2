package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// PersonPlan is who a person is.
type PersonPlan struct {
	Name   string
	Number uint16 // tells whose packets they are; each person has another
	Nodes  []Node // first the one to begin at
	Room   string // token of a public conversation of the embedded backend
	IP     net.IP // of the person's machine
	Clock  Clock
}

// Person is somebody in a call who behaves as our own client does: comes back
// through another node when its own is gone or silent, keeps the session, makes
// the media anew, and goes to another node when it is asked to, the new
// connections first. It sends all the time, hears all others, and notes what
// comes when.
//
//	tend (one goroutine) ── body: socket and peer connections, of one node
//	       │                 └ a second one while moving
//	     Mouth (one goroutine) ── the same packets over all that publish
//	     ears  ── what comes, over whichever connection
type Person struct {
	plan  PersonPlan
	door  *Door
	mouth *Mouth
	ears  *ears
	ctx   context.Context // ends with the person
	end   context.CancelFunc
	tasks sync.WaitGroup
	news  chan struct{} // something is to be done; holds one

	doubted doubt // of tend

	mu      sync.Mutex
	body    *body                    // guarded by mu
	resume  string                   // guarded by mu; id to take the session up
	seat    wire.RoomSessionID       // guarded by mu
	inCall  map[store.SessionID]int  // guarded by mu; flags of the others
	lost    error                    // guarded by mu; why the socket has ended
	lostAt  time.Duration            // guarded by mu
	order   *MoveOrder               // guarded by mu; the newest
	history []Incident               // guarded by mu
	known   map[store.SessionID]bool // guarded by mu; who was said to be in the room
	noise   []string                 // guarded by mu; who was said to come and go
}

// body is what a person has at one node.
type body struct {
	*Client
	node string
	pub  *Publisher
	subs map[store.SessionID]*subscribed
	next time.Duration // no connection is tried before
}

type subscribed struct {
	*Subscription
	audio, video *track
}

// doubt is the question for a sign of life that was asked last.
type doubt struct {
	socket *socket
	asked  time.Duration
	frames uint64        // that had come then
	stall  time.Duration // when media had come last, if that was the reason
	open   bool
}

// Incident is something that happened to a person's connection.
type Incident struct {
	What string        // lost, moved, move failed
	Why  string        // as the client saw it
	At   time.Duration // when it was noticed; of a move, when it was asked for
	Back time.Duration // when a node had the session again; of a move, when it was done
	Node string        // base URL of that node
	// Session: it is the same one. Media: its connections too. InRoom: it did
	// not have to enter again.
	Session, Media, InRoom bool
}

// As our own client has them.
const (
	tendEvery    = 20 * time.Millisecond
	stallAfter   = time.Second             // media that flowed have come to a stop
	pongWithin   = 1500 * time.Millisecond // else the connection is lost
	pingEvery    = 10 * time.Second
	retryMedia   = 500 * time.Millisecond
	retryRound   = 500 * time.Millisecond
	moveWithin   = 8 * time.Second
	doneWithin   = 4 * time.Second
	lingersMoved = 3 * time.Second
)

// Enter brings a person into the conversation and the call.
func Enter(ctx context.Context, plan PersonPlan) (*Person, error) {
	p := &Person{
		plan: plan, door: newDoor(plan.Room, plan.Name), mouth: newMouth(plan.Number, plan.Clock),
		ears: &ears{of: make(map[earKey]*Ear), now: plan.Clock},
		news: make(chan struct{}, 1), inCall: make(map[store.SessionID]int), known: make(map[store.SessionID]bool),
	}
	p.ctx, p.end = context.WithCancel(context.Background())
	d, err := p.dial(ctx, plan.Nodes[0].URL, "")
	if err == nil {
		err = p.settle(ctx, d)
	}
	if err != nil {
		p.Close()
		return nil, fmt.Errorf("%s: %w", plan.Name, err)
	}
	p.tasks.Go(func() { p.mouth.run(p.ctx) })
	p.tasks.Go(p.tend)
	return p, nil
}

// Close leaves, and waits for all that belongs to the person.
func (p *Person) Close() {
	p.end()
	p.tasks.Wait()
	p.mu.Lock()
	b := p.body
	p.mu.Unlock()
	if b != nil {
		b.Close()
	}
}

// Session is the id that the node gave.
func (p *Person) Session() store.SessionID {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.body.session
}

// Node is the base URL of the node that serves the person.
func (p *Person) Node() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.body.node
}

// Name is the person's.
func (p *Person) Name() string { return p.plan.Name }

// Number tells whose packets they are.
func (p *Person) Number() uint16 { return p.plan.Number }

// Sent is when each packet so far was sent, by its number.
func (p *Person) Sent(k Kind) []time.Duration { return p.mouth.Sent(k) }

// Ear is what the person hears of another.
func (p *Person) Ear(of uint16, k Kind) *Ear { return p.ears.ear(of, k) }

// Incidents are what happened so far.
func (p *Person) Incidents() []Incident {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.history)
}

// ComingAndGoing is what the person was told of others since it was asked last:
// "leave" with a session, and "join" with one that was not there before.
func (p *Person) ComingAndGoing() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	noise := p.noise
	p.noise = nil
	return noise
}

// Hears tells whether something of all these came lately, over audio and video.
func (p *Person) Hears(lately time.Duration, others ...*Person) bool {
	now := p.plan.Clock()
	for _, o := range others {
		if o == p {
			continue
		}
		for _, k := range []Kind{Audio, Video} {
			if last := p.Ear(o.plan.Number, k).last(); last == 0 || now-last > lately {
				return false
			}
		}
	}
	return true
}

// wake tells tend that there is something to do.
func (p *Person) wake() {
	select {
	case p.news <- struct{}{}:
	default:
	}
}

// tend is the goroutine that keeps everything as it should be.
func (p *Person) tend() {
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-tick.C:
		case <-p.news:
		}
		p.mu.Lock()
		lost, order := p.lost, p.order
		p.mu.Unlock()
		switch {
		case lost != nil:
			p.comeBack(lost)
		case order != nil:
			p.move(order)
		default:
			p.mend(p.body) // nobody but this goroutine changes it
			p.doubt()
		}
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
			b.tasks.Wait()
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
		return p.door.inCall(ctx, d.node, seat)
	}
	return nil
}

func (p *Person) newBody(d *dialled) *body {
	b := &body{
		Client: newClient(network{ip: p.plan.IP}, p.plan.Clock, d.socket),
		node:   d.node, subs: make(map[store.SessionID]*subscribed),
	}
	b.session = d.hello.SessionID
	b.hear = func(h heard) { p.hear(b, h) }
	b.lost = func(err error) { p.lose(b, err) }
	return b
}

// retire ends a body without a word, after a while.
func (p *Person) retire(b *body, after time.Duration) {
	p.tasks.Go(func() {
		if after > 0 {
			timer := time.NewTimer(after)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-b.ctx.Done():
			case <-p.ctx.Done():
			}
		}
		p.mouth.remove(b.pub)
		b.drop()
		b.tasks.Wait()
	})
}

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

// hear takes what a node says of the room. A body on its way hears nothing.
func (p *Person) hear(b *body, h heard) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b != p.body {
		return
	}
	defer p.wake()
	switch {
	case h.Type == "move" && h.ID == "" && h.Move != nil && h.Move.Ticket != "":
		p.order = h.Move
	case h.Bye != nil && h.ID == "" && p.lost == nil:
		p.lost, p.lostAt = fmt.Errorf("%w: bye %s", ErrClosed, h.Bye.Reason), p.plan.Clock()
	case h.Event == nil:
	case h.Event.Type == wire.EventJoin:
		for _, e := range h.Event.Join { // may be all who are there, once more
			if !p.known[e.SessionID] && e.SessionID != b.session {
				p.noise = append(p.noise, "join "+string(e.SessionID))
			}
			p.known[e.SessionID] = true
		}
	case h.Event.Type == wire.EventLeave:
		for _, id := range h.Event.Leave {
			p.noise = append(p.noise, "leave "+string(id))
			delete(p.inCall, id)
			delete(p.known, id)
		}
	case h.Event.Target == wire.TargetParticipants && h.Event.Update != nil:
		for _, u := range h.Event.Update.Users {
			var id store.SessionID
			var flags int
			if json.Unmarshal(u["sessionId"], &id) == nil && json.Unmarshal(u["inCall"], &flags) == nil && id != b.session {
				p.inCall[id] = flags
			}
		}
	}
}

// wanted are the sessions whose media are to be heard.
func (p *Person) wanted() []store.SessionID {
	const sends = 2 | 4 // audio, video
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

// mend makes the connections that should be there and are not.
func (p *Person) mend(b *body) {
	now := p.plan.Clock()
	if now < b.next {
		return
	}
	if b.pub != nil && b.pub.err() != nil {
		p.mouth.remove(b.pub)
		b.forget(b.pub.peer)
		b.pub, b.next = nil, now+retryMedia
		return
	}
	if b.pub == nil {
		pub, err := b.offer(b.ctx, p.plan.Number, p.mouth.keyframe)
		if err != nil {
			b.next = now + retryMedia
			return
		}
		b.pub = pub
		p.mouth.add(pub)
	}
	wanted := p.wanted()
	for id, s := range b.subs {
		if s.err() != nil || !slices.Contains(wanted, id) {
			b.forget(s.peer)
			delete(b.subs, id)
			if s.err() != nil {
				b.next = now + retryMedia
			}
		}
	}
	for _, id := range wanted {
		if b.subs[id] != nil {
			continue
		}
		s := &subscribed{audio: newTrack(p.ears, Audio), video: newTrack(p.ears, Video)}
		var err error
		s.Subscription, err = b.request(id, func(k Kind) sink {
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

func (p *Person) note(i Incident) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.history = append(p.history, i)
}
