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
	type answer struct {
		*ConditionReply
		sent, came time.Time
	}
	answers := askAll(ctx, i, peers, func(ctx context.Context, c InspectClient) (*answer, error) {
		a := &answer{sent: time.Now()}
		var err error
		a.ConditionReply, err = c.Condition(ctx, &ConditionRequest{})
		a.came = time.Now()
		return a, err
	})
	all := map[store.NodeID]Condition{}
	own := i.local.Condition()
	all[i.self] = own.condition(time.Unix(0, own.Now))
	for k, a := range answers {
		if a != nil {
			// The answer was written half way between, give or take half of it.
			all[peers[k]] = a.condition(a.sent.Add(a.came.Sub(a.sent) / 2))
		}
	}
	return all
}

func (r *ConditionReply) condition(here time.Time) Condition {
	c := Condition{DiskFree: r.DiskFree, DiskSize: r.DiskSize, ClockOffset: time.Unix(0, r.Now).Sub(here)}
	if r.CertificateExpires > 0 {
		c.CertificateExpires = time.Unix(r.CertificateExpires, 0).UTC()
	}
	return c
}
