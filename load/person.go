package load

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/talkd/talkd/signaling/backend"
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
	body    *body                             // guarded by mu
	resume  string                            // guarded by mu; id to take the session up
	seat    wire.RoomSessionID                // guarded by mu
	inCall  map[store.SessionID]backend.Flags // guarded by mu; flags of the others
	lost    error                             // guarded by mu; why the socket has ended
	lostAt  time.Duration                     // guarded by mu
	order   *wire.Move                        // guarded by mu; the newest
	history []Incident                        // guarded by mu
	known   map[store.SessionID]bool          // guarded by mu; who was said to be in the room
	noise   []string                          // guarded by mu; who was said to come and go
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

// tendEvery is how often a person looks whether all is as it should be.
const tendEvery = 20 * time.Millisecond

// Enter brings a person into the conversation and the call.
func Enter(ctx context.Context, plan PersonPlan) (*Person, error) {
	p := &Person{
		plan: plan, door: NewDoor(plan.Room, plan.Name), mouth: newMouth(plan.Number, Camera(), plan.Clock),
		ears: &ears{of: make(map[earKey]*Ear), now: plan.Clock},
		news: make(chan struct{}, 1), inCall: make(map[store.SessionID]backend.Flags), known: make(map[store.SessionID]bool),
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

// hear takes what a node says of the room. A body on its way hears nothing.
func (p *Person) hear(b *body, m wire.ServerMessage) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b != p.body {
		return
	}
	defer p.wake()
	switch {
	case m.Move != nil && m.ID == "" && m.Move.Ticket != "":
		p.order = m.Move
	case m.Bye != nil && m.ID == "" && p.lost == nil:
		p.lost, p.lostAt = fmt.Errorf("%w: bye %s", ErrClosed, m.Bye.Reason), p.plan.Clock()
	case m.Event == nil:
	case m.Event.Type == wire.EventJoin:
		for _, e := range m.Event.Join { // may be all who are there, once more
			if !p.known[e.SessionID] && e.SessionID != b.session {
				p.noise = append(p.noise, "join "+string(e.SessionID))
			}
			p.known[e.SessionID] = true
		}
	case m.Event.Type == wire.EventLeave:
		for _, id := range m.Event.Leave {
			p.noise = append(p.noise, "leave "+string(id))
			delete(p.inCall, id)
			delete(p.known, id)
		}
	case m.Event.Target == wire.TargetParticipants && m.Event.Update != nil:
		for _, u := range m.Event.Update.Users {
			var id store.SessionID
			var flags backend.Flags
			if json.Unmarshal(u["sessionId"], &id) == nil && json.Unmarshal(u["inCall"], &flags) == nil && id != b.session {
				p.inCall[id] = flags
			}
		}
	}
}

func (p *Person) note(i Incident) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.history = append(p.history, i)
}
