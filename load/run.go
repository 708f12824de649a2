package load

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// Plan is who takes part in a run.
type Plan struct {
	Nodes []Node
	Room  string
	// Publishers and Subscribers are how many there are at each node. Each
	// subscriber listens to all publishers, at whatever node they are.
	Publishers, Subscribers int
	// Who makes the credentials of the n-th participant, and under which id the
	// backend knows its seat in the room.
	Who func(n int) (Credentials, wire.RoomSessionID)
	// Call tells the nodes, as a backend does, that all these are in the call.
	Call func(publishers, subscribers []wire.RoomSessionID)
	// Together is how many of them do something at a time; 0 is a few.
	Together int
	// Loss of the network between participants and nodes; nil for none.
	Loss *Loss
}

// Node is where participants connect to.
type Node struct {
	Name string
	URL  string // base URL
}

// MaxStreams bounds a plan: streams that are received altogether.
const MaxStreams = 2000

// ErrPlan tells of a plan that is empty or too large.
var ErrPlan = errors.New("load: plan without streams, or with too many")

// Run is a call that is going on.
type Run struct {
	clock      Clock
	publishers []*speaker
	listeners  []*listener
}

type participant struct {
	node   Node
	seat   wire.RoomSessionID
	client *Client
}

type speaker struct {
	participant
	number uint16
	pub    *Publisher
}

type listener struct {
	participant
	subs []*Subscription // in the order of the publishers
}

// Start brings all participants into the room and the call, and returns when
// every subscriber receives every publisher. After an error nothing is left.
func Start(ctx context.Context, plan Plan) (*Run, error) {
	nodes := len(plan.Nodes)
	streams := 2 * plan.Publishers * nodes * plan.Subscribers * nodes
	if streams <= 0 || streams > MaxStreams {
		return nil, fmt.Errorf("%w: %d", ErrPlan, streams)
	}
	r := &Run{clock: NewClock()}
	for _, node := range plan.Nodes {
		for range plan.Publishers {
			r.publishers = append(r.publishers, &speaker{participant: participant{node: node}, number: uint16(len(r.publishers))})
		}
		for range plan.Subscribers {
			r.listeners = append(r.listeners, &listener{participant: participant{node: node}})
		}
	}
	if err := r.start(ctx, plan); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func (r *Run) start(ctx context.Context, plan Plan) error {
	if err := each(plan.together(), r.participants(), func(n int, p *participant) error { return p.join(ctx, r.clock, plan, n) }); err != nil {
		return err
	}
	var publishers, subscribers []wire.RoomSessionID
	for _, p := range r.publishers {
		publishers = append(publishers, p.seat)
	}
	for _, l := range r.listeners {
		subscribers = append(subscribers, l.seat)
	}
	plan.Call(publishers, subscribers)
	if err := each(plan.together(), r.publishers, func(_ int, p *speaker) (err error) {
		p.pub, err = p.client.Publish(ctx, p.number, Camera())
		return p.explain(err)
	}); err != nil {
		return err
	}
	return each(plan.together(), r.listeners, func(_ int, l *listener) error {
		l.subs = make([]*Subscription, len(r.publishers))
		return each(plan.together(), r.publishers, func(i int, p *speaker) (err error) {
			l.subs[i], err = l.client.Subscribe(ctx, p.client.Session(), p.number, Camera())
			return l.explain(err)
		})
	})
}

// participants are all, publishers first.
func (r *Run) participants() []*participant {
	var all []*participant
	for _, p := range r.publishers {
		all = append(all, &p.participant)
	}
	for _, l := range r.listeners {
		all = append(all, &l.participant)
	}
	return all
}

func (p *participant) join(ctx context.Context, clock Clock, plan Plan, n int) (err error) {
	if p.client, err = Dial(ctx, SocketURL(p.node.URL), clock, Network{Loss: plan.Loss}); err != nil {
		return p.explain(err)
	}
	who, seat := plan.Who(n)
	p.seat = seat
	if err := p.client.Hello(ctx, who); err != nil {
		return p.explain(err)
	}
	return p.explain(p.client.Join(ctx, plan.Room, seat))
}

func (p *participant) explain(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("participant %s at %s: %w", p.seat, p.node.Name, err)
}

// Sessions are the ids of all sessions, publishers first.
func (r *Run) Sessions() []store.SessionID {
	var all []store.SessionID
	for _, p := range r.participants() {
		all = append(all, p.client.Session())
	}
	return all
}

// How long the tail is: first at least, for a loss to be noticed and repaired,
// then at most, for what is not there yet.
const (
	tailAtLeast = 500 * time.Millisecond
	tailAtMost  = 5 * time.Second
)

// Measure lets media flow for the time of the window and reports. Delays are
// those of packets sent in the window; packets are counted from the first that
// a subscriber got to the end of the window.
func (r *Run) Measure(ctx context.Context, window time.Duration) (*Report, error) {
	opened := r.clock()
	r.streams(func(_ *listener, _ *speaker, s *Stream) { s.Open(opened) })
	if err := Wait(ctx, window); err != nil {
		return nil, err
	}
	report := &Report{Window: r.clock() - opened}
	for _, p := range r.publishers {
		report.Publishers = append(report.Publishers, PublisherReport{Number: p.number, Node: p.node.Name, Sent: p.pub.CloseCount()})
	}
	if err := Wait(ctx, tailAtLeast); err != nil {
		return nil, err
	}
	for end := r.clock() + tailAtMost; r.clock() < end && !r.complete(report); {
		if err := Wait(ctx, 20*time.Millisecond); err != nil {
			return nil, err
		}
	}
	for i, p := range r.publishers { // the tail is over now
		sent, all := &report.Publishers[i].Sent, p.pub.Sent()
		sent.AskedAgain, sent.Missed = all.AskedAgain, all.Missed
	}
	r.streams(func(l *listener, p *speaker, s *Stream) {
		report.Streams = append(report.Streams, StreamReport{
			Publisher:  p.number,
			Subscriber: string(l.seat),
			From:       p.node.Name,
			To:         l.node.Name,
			Kind:       s.kind,
			Counts:     s.Counts(report.last(p.number, s.kind)),
		})
	})
	return report, r.err()
}

func (r *Run) complete(report *Report) bool {
	complete := true
	r.streams(func(_ *listener, p *speaker, s *Stream) {
		complete = complete && s.Complete(report.last(p.number, s.kind))
	})
	return complete
}

func (r *Run) streams(do func(*listener, *speaker, *Stream)) {
	for _, l := range r.listeners {
		for i, sub := range l.subs {
			do(l, r.publishers[i], sub.Audio)
			do(l, r.publishers[i], sub.Video)
		}
	}
}

// Wait waits for a time, or until ctx ends, whose error it returns.
func Wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// err is what ended early.
func (r *Run) err() error {
	var errs []error
	for _, p := range r.publishers {
		errs = append(errs, p.explain(p.pub.Err()))
	}
	for _, l := range r.listeners {
		for _, s := range l.subs {
			errs = append(errs, l.explain(s.Err()))
		}
	}
	return errors.Join(errs...)
}

// Close ends all sessions and waits for what belongs to them.
func (r *Run) Close() {
	_ = each(few, r.participants(), func(_ int, p *participant) error {
		if p.client != nil {
			p.client.Close()
		}
		return nil
	})
}

// few is how many participants do something at a time, unless a stampede is
// planned.
const few = 4

func (p Plan) together() int { return cmp.Or(p.Together, few) }

// Each does something for all, few at a time, and joins the errors.
func Each[T any](all []T, do func(int, T) error) error { return each(few, all, do) }

func each[T any](together int, all []T, do func(int, T) error) error {
	var wg sync.WaitGroup
	errs := make([]error, len(all))
	slots := make(chan struct{}, together)
	for i, v := range all {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			errs[i] = do(i, v)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
