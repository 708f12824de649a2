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

// errReplaced ends the following of an order that a newer one replaces.
var errReplaced = errors.New("a newer order has taken the place of this one")

// operations meets api.Operations. The order itself is a decision of the
// cluster and made while the operator waits; what follows from it is looked at
// here, by one goroutine an operation, and told by events. Run waits for them.
//
// Orders are decided one after another, so that of two about the same node or
// room the newer one is also the one that is followed on.
type operations struct {
	self    store.NodeID
	cluster ordered
	gather  func(context.Context, ...string) map[string]*inspect.Room
	publish func(api.AdminEvent)                    // here
	tell    func(context.Context, *inspect.OpEvent) // the other nodes
	count   func(api.AdminEvent)
	log     *slog.Logger

	deciding chan struct{} // holds whoever decides
	wg       sync.WaitGroup

	mu      sync.Mutex           // guards what follows
	running map[string]*followed // by what they are about
	ctx     context.Context      // of Run; nil: not running
}

// followed is an operation that is looked at.
type followed struct {
	id, what string
	end      context.CancelCauseFunc
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
	return &operations{
		self: n.cluster.Self(), cluster: n.cluster, gather: n.inspector.Gather, publish: n.events.publish, tell: n.inspector.TellAll, count: n.metrics.tell,
		log: n.log, deciding: make(chan struct{}, 1), running: make(map[string]*followed),
	}
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

// order decides, and has a goroutine follow what was decided. The order that is
// followed already is decided again, in case others have decided meanwhile, and
// is that operation; another one about the same takes its place.
func (o *operations) order(ctx context.Context, first api.AdminEvent, decide func(context.Context) error,
	follow func(context.Context, *progress) (done string, err error),
) (string, error) {
	select {
	case o.deciding <- struct{}{}:
		defer func() { <-o.deciding }()
	case <-ctx.Done():
		return "", fmt.Errorf("%w: another order is being decided: %w", api.ErrUnavailable, ctx.Err())
	}
	about, what := subject(first), first.Kind+" "+first.Home
	if err := o.takes(about); err != nil {
		return "", err
	}
	if err := decide(ctx); err != nil {
		return "", orderError(err)
	}

	o.mu.Lock()
	before := o.running[about]
	if o.ctx == nil {
		o.mu.Unlock()
		return "", fmt.Errorf("%w: it is decided, but this node stops; look at another one", api.ErrRefused)
	}
	if before != nil && before.what == what {
		o.mu.Unlock()
		return before.id, nil
	}
	run, end := context.WithCancelCause(o.ctx)
	now := &followed{id: newOp(o.self, strings.ToLower(rand.Text()[:10])), what: what, end: end}
	o.running[about] = now
	o.wg.Add(1)
	o.mu.Unlock()
	if before != nil {
		before.end(errReplaced)
	}

	first.Op = now.id
	p := &progress{o: o, event: first, changed: time.Now()}
	p.say(ctx, api.PhaseAccepted, first.Detail)
	go func() {
		defer o.wg.Done()
		defer end(nil)
		done, err := follow(run, p)
		o.mu.Lock()
		if o.running[about] == now {
			delete(o.running, about)
		}
		o.mu.Unlock()
		switch cause := context.Cause(run); {
		case err == nil:
			p.say(run, api.PhaseDone, done)
		case errors.Is(cause, errReplaced):
			p.say(run, api.PhaseFailed, errReplaced.Error())
		case cause != nil:
			p.say(run, api.PhaseFailed, fmt.Sprintf("%s, which followed this, stops. What was ordered goes on: talkd cluster status", o.self))
		default:
			p.say(run, api.PhaseFailed, err.Error())
		}
	}()
	return now.id, nil
}

// subject is what an order is about: of two about the same, the newer one holds.
func subject(e api.AdminEvent) string {
	switch {
	case e.Room != "":
		return "room " + e.Room
	case e.Node != "":
		return "node " + e.Node
	}
	return e.Kind
}

// takes says why an order cannot be followed here.
func (o *operations) takes(about string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.ctx == nil:
		return fmt.Errorf("%w: this node is not part of the cluster at the moment; ask another one", api.ErrRefused)
	case o.running[about] == nil && len(o.running) >= maxOperations:
		return fmt.Errorf("%w: this node follows %d operations already; wait for one to end, or ask another node", api.ErrRefused, maxOperations)
	}
	return nil
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
