package node

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/talkd/talkd/doctor"
	"github.com/talkd/talkd/node/inspect"
	"github.com/talkd/talkd/store"
)

// examine asks the Nextclouds that this node serves, all at the same time. A node
// without signaling asks none of them ever.
func (n *Node) examine(ctx context.Context) *inspect.ExamineReply {
	reply := &inspect.ExamineReply{}
	if !n.has(store.RoleSignaling) {
		return reply
	}
	type target struct {
		id  store.BackendID
		url string
	}
	var targets []target
	for _, e := range n.nextclouds.entries() {
		for _, url := range e.urls() {
			targets = append(targets, target{e.id, url})
		}
	}
	found := make([][]doctor.Finding, len(targets))
	var wg sync.WaitGroup
	for i, t := range targets {
		wg.Go(func() {
			found[i] = doctor.Nextcloud(t.url, n.backends.Examine(ctx, t.id, n.nextclouds.registry.Via(t.url)))
		})
	}
	wg.Wait()
	for _, f := range slices.Concat(found...) {
		reply.Findings = append(reply.Findings, &inspect.Finding{Check: f.Check, About: f.About, Result: string(f.Result), Text: f.Text, Do: f.Do})
	}
	return reply
}

// findingOf is what another node has found.
func findingOf(node store.NodeID, f *inspect.Finding) doctor.Finding {
	return doctor.Finding{
		Check: f.GetCheck(), About: f.GetAbout(), From: string(node), Result: doctor.Result(f.GetResult()), Text: f.GetText(), Do: f.GetDo(),
	}
}

// examiner meets api.Doctor.
type examiner struct{ n *Node }

// Examine lets all nodes look, in the order of their ids.
func (e examiner) Examine(ctx context.Context) (any, error) {
	probe, err := e.n.hub.NewProbe()
	if err != nil {
		return nil, err
	}
	servers, err := e.n.cfg.TURN.Parse()
	if err != nil {
		return nil, err
	}
	offer, err := doctor.OfferTURN(servers, time.Now())
	if err != nil {
		return nil, err
	}
	answers := e.n.inspector.ExamineAll(ctx)
	x := doctor.Examination{Findings: []doctor.Finding{}, Room: probe.Room, Ticket: probe.Ticket, TURN: offer}
	for _, id := range slices.SortedFunc(maps.Keys(answers), cmp.Compare[store.NodeID]) {
		answer := answers[id]
		if answer == nil {
			x.Findings = append(x.Findings, doctor.Finding{
				Check: doctor.CheckNextcloud, About: string(id), From: string(id), Result: doctor.Warning,
				Text: "the node does not say what it sees: it does not answer, or is older", Do: "look at talkd cluster status, and upgrade it",
			})
			continue
		}
		for _, f := range answer.GetFindings() {
			x.Findings = append(x.Findings, findingOf(id, f))
		}
	}
	return x, nil
}
