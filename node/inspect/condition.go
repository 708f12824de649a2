package inspect

import (
	"context"
	"sync"
	"time"

	"github.com/talkd/talkd/store"
)

// conditionFresh is for how long conditions are not asked for again: they
// change slowly, and every look at the cluster wants them.
const conditionFresh = 10 * time.Second

// Condition is how the machine of a node does.
type Condition struct {
	DiskFree, DiskSize uint64        // bytes
	ClockOffset        time.Duration // ahead of the clock of the node that asked
	CertificateExpires time.Time
}

// conditions keeps what the nodes told.
type conditions struct {
	mu     sync.Mutex // guards what follows
	at     time.Time
	latest map[store.NodeID]Condition
	asking bool
}

// Condition implements InspectServer.
func (i *Inspector) Condition(context.Context, *ConditionRequest) (*ConditionReply, error) {
	return i.local.Condition(), nil
}

// Conditions are what the nodes told lately. Who did not answer is not in it.
func (i *Inspector) Conditions(ctx context.Context) map[store.NodeID]Condition {
	c := &i.conditions
	c.mu.Lock()
	if c.asking || c.latest != nil && time.Since(c.at) < conditionFresh {
		defer c.mu.Unlock()
		return c.latest // replaced, never changed
	}
	c.asking = true
	c.mu.Unlock()

	// Not the caller's context alone: others get this answer too.
	latest := i.askConditions(context.WithoutCancel(ctx))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asking, c.at, c.latest = false, time.Now(), latest
	return latest
}

func (i *Inspector) askConditions(ctx context.Context) map[store.NodeID]Condition {
	peers := i.peers()
	answers := askAll(ctx, i, peers, askCondition)
	all := map[store.NodeID]Condition{}
	own := i.local.Condition()
	all[i.self] = own.condition(time.Unix(0, own.Now))
	for k, a := range answers {
		if a != nil {
			all[peers[k]] = a.condition(a.written())
		}
	}
	return all
}

// ClockOffset is how far the clock of another node is ahead of this one's.
func (i *Inspector) ClockOffset(ctx context.Context, id store.NodeID) (time.Duration, bool) {
	a := askAll(ctx, i, []store.NodeID{id}, askCondition)[0]
	if a == nil {
		return 0, false
	}
	return a.condition(a.written()).ClockOffset, true
}

// answer is what a node told, and when.
type answer struct {
	*ConditionReply
	sent, came time.Time
}

// written is when the answer was: half way between, give or take half of it.
func (a *answer) written() time.Time { return a.sent.Add(a.came.Sub(a.sent) / 2) }

func askCondition(ctx context.Context, c InspectClient) (*answer, error) {
	a := &answer{sent: time.Now()}
	var err error
	a.ConditionReply, err = c.Condition(ctx, &ConditionRequest{})
	a.came = time.Now()
	return a, err
}

func (r *ConditionReply) condition(here time.Time) Condition {
	c := Condition{DiskFree: r.DiskFree, DiskSize: r.DiskSize, ClockOffset: time.Unix(0, r.Now).Sub(here)}
	if r.CertificateExpires > 0 {
		c.CertificateExpires = time.Unix(r.CertificateExpires, 0).UTC()
	}
	return c
}
