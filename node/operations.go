package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/talkd/talkd/api"
	"github.com/talkd/talkd/cluster"
	"github.com/talkd/talkd/node/inspect"
	"github.com/talkd/talkd/store"
)

// maxOperations is how many a node follows at the same time.
const maxOperations = 32

// operations meets api.Operations. The order itself is a decision of the
// cluster and made while the operator waits; what follows from it is looked at
// here, by one goroutine an operation, and told by events. Run waits for them.
type operations struct {
	self    store.NodeID
	cluster ordered
	gather  func(context.Context, ...string) map[string]*inspect.Room
	publish func(api.AdminEvent)                    // here
	tell    func(context.Context, *inspect.OpEvent) // the other nodes
	count   func(api.AdminEvent)
	log     *slog.Logger

	mu      sync.Mutex        // guards what follows
	running map[string]string // by what is done to whom: the id
	ctx     context.Context   // of Run; nil: not running
	wg      sync.WaitGroup
}

// ordered is met by cluster.Cluster.
type ordered interface {
	Members() []cluster.Member
	Status() cluster.Status
	Lookup(store.RoomID) (store.Home, bool)
	Drain(ctx context.Context, node store.NodeID, on bool) error
	Move(ctx context.Context, room store.RoomID, to store.NodeID) (store.Home, error)
	Remove(ctx context.Context, node store.NodeID) error
	RotateGossip(ctx context.Context) error
	RotateCA(ctx context.Context) error
}

func (n *Node) newOperations() *operations {
	o := &operations{
		self: n.cluster.Self(), cluster: n.cluster, gather: n.inspector.Gather, publish: n.events.publish, tell: n.inspector.TellAll, count: n.metrics.tell,
		log: n.log, running: map[string]string{},
	}
	return o
}

// Run lets operations run until ctx ends, and waits for them.
func (o *operations) Run(ctx context.Context) error {
	o.mu.Lock()
	o.ctx = ctx
	o.mu.Unlock()
	<-ctx.Done()
	o.mu.Lock()
	o.ctx = nil
	o.mu.Unlock()
	o.wg.Wait()
	return ctx.Err()
}

func (o *operations) member(id store.NodeID) (cluster.Member, bool) {
	for _, m := range o.cluster.Members() {
		if m.ID == id {
			return m, true
		}
	}
	return cluster.Member{}, false
}

// order decides, and has a goroutine follow what was decided. The same order
// while it is followed is that one.
func (o *operations) order(ctx context.Context, first api.AdminEvent, decide func(context.Context) error,
	follow func(context.Context, *progress) (done string, err error),
) (string, error) {
	what := first.Kind + " " + first.Node + first.Room + " " + first.Home
	o.mu.Lock()
	op, same := o.running[what]
	busy, stopped := len(o.running) >= maxOperations, o.ctx == nil
	o.mu.Unlock()
	switch {
	case same:
		return op, nil
	case stopped:
		return "", fmt.Errorf("%w: this node is not part of the cluster at the moment; ask another one", api.ErrRefused)
	case busy:
		return "", fmt.Errorf("%w: this node follows %d operations already; wait for one to end, or ask another node", api.ErrRefused, maxOperations)
	}
	if err := decide(ctx); err != nil {
		return "", orderError(err)
	}
	o.mu.Lock()
	if op, same = o.running[what]; same || o.ctx == nil {
		o.mu.Unlock()
		if !same {
			return "", fmt.Errorf("%w: it is decided, but this node stops; look at another one", api.ErrRefused)
		}
		return op, nil
	}
	first.Op = newOp(o.self, strings.ToLower(rand.Text()[:10]))
	o.running[what] = first.Op
	run := o.ctx
	o.wg.Add(1)
	o.mu.Unlock()

	p := &progress{o: o, event: first, changed: time.Now()}
	p.say(ctx, api.PhaseAccepted, first.Detail)
	go func() {
		defer o.wg.Done()
		done, err := follow(run, p)
		o.mu.Lock()
		delete(o.running, what)
		o.mu.Unlock()
		switch {
		case err == nil:
			p.say(run, api.PhaseDone, done)
		case run.Err() != nil:
			p.say(run, api.PhaseFailed, fmt.Sprintf("%s, which followed this, stops. What was ordered goes on: talkd cluster status", o.self))
		default:
			p.say(run, api.PhaseFailed, err.Error())
		}
	}()
	return first.Op, nil
}

// orderError turns the refusals of the cluster into those of the API.
func orderError(err error) error {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return fmt.Errorf("%w: %w", api.ErrNoRoom, err)
	case errors.Is(err, cluster.ErrUnfit):
		return fmt.Errorf("%w: %w; choose another node: talkd cluster status", api.ErrRefused, err)
	case errors.Is(err, cluster.ErrRemoveRefused):
		return fmt.Errorf("%w: %w", api.ErrRefused, err)
	case errors.Is(err, cluster.ErrUnsupported):
		return fmt.Errorf("%w: %w; bring all nodes up to one version first", api.ErrRefused, err)
	case errors.Is(err, cluster.ErrNoLeader), errors.Is(err, cluster.ErrNotReady), errors.Is(err, cluster.ErrUnknownOutcome),
		errors.Is(err, cluster.ErrClosed):
		return fmt.Errorf("%w: %w", api.ErrUnavailable, err)
	}
	return err
}

// progress tells how far an operation is.
type progress struct {
	o       *operations
	event   api.AdminEvent
	last    *api.Left
	changed time.Time
}

// left tells what is left if that has changed, and for how long it has not.
func (p *progress) left(ctx context.Context, left api.Left, detail string) (still time.Duration) {
	if p.last != nil && *p.last == left {
		return time.Since(p.changed)
	}
	p.last, p.changed = &left, time.Now()
	p.say(ctx, api.PhaseProgress, detail)
	return 0
}

func (p *progress) say(ctx context.Context, phase api.Phase, detail string) {
	e := p.event
	e.At, e.Phase, e.Left, e.Detail = time.Now(), phase, p.last, detail
	p.o.log.InfoContext(ctx, "operation", "op", e.Op, "kind", e.Kind, "phase", string(phase), "detail", detail)
	p.o.count(e)
	p.o.publish(e)
	p.o.tell(context.WithoutCancel(ctx), toWire(e)) // bounds itself
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func toWire(e api.AdminEvent) *inspect.OpEvent {
	o := &inspect.OpEvent{
		Op: e.Op, Kind: e.Kind, Phase: string(e.Phase), Room: e.Room, Node: e.Node, Home: e.Home, From: e.From, Epoch: e.Epoch,
		Detail: e.Detail, At: e.At.UnixNano(),
	}
	if e.Left != nil {
		o.Left = &inspect.Left{Rooms: uint32(e.Left.Rooms), Sessions: uint32(e.Left.Sessions)}
	}
	return o
}

func fromWire(o *inspect.OpEvent) api.AdminEvent {
	e := api.AdminEvent{
		Op: o.Op, Kind: o.Kind, Phase: api.Phase(o.Phase), Room: o.Room, Node: o.Node, Home: o.Home, From: o.From, Epoch: o.Epoch,
		Detail: o.Detail, At: time.Unix(0, o.At),
	}
	if o.Left != nil {
		e.Left = &api.Left{Rooms: int(o.Left.Rooms), Sessions: int(o.Left.Sessions)}
	}
	return e
}
