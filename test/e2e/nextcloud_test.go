package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/talkd/talkd/load"
	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/signalingtest"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// startServing starts a cluster that serves a Nextcloud.
func startServing(t *testing.T, nodes int, args ...string) (*signalingtest.Nextcloud, *cluster) {
	t.Helper()
	return startServingIn(t, nil, nodes, args...)
}

// startServingIn begins the command with other words.
func startServingIn(t *testing.T, words []string, nodes int, args ...string) (*signalingtest.Nextcloud, *cluster) {
	t.Helper()
	const secret = "a secret of the end-to-end tests"
	nc := signalingtest.NewNextcloud(t, secret)
	return nc, startClusterIn(t, words, nodes, append(args, "--backend", nc.URL()+"="+secret)...)
}

// loadPlan is a call of load clients in a room of a Nextcloud, with so many at each
// node.
func loadPlan(nc *signalingtest.Nextcloud, nodes []node, room string, publishers, subscribers int) load.Plan {
	nc.SetRoom(room, signalingtest.Room{})
	plan := load.Plan{
		Room: room, Publishers: publishers, Subscribers: subscribers,
		Who: func(n int) (load.Credentials, wire.RoomSessionID) { return account(nc, fmt.Sprintf("%s-%d", room, n)) },
		Call: func(publishers, subscribers []wire.RoomSessionID) {
			nc.InCall(nodes[0].HTTP, room, callers(publishers, subscribers)...)
		},
	}
	for _, n := range nodes {
		plan.Nodes = append(plan.Nodes, load.Node{Name: n.Node, URL: n.HTTP})
	}
	return plan
}

// account is somebody new of a Nextcloud, with a seat.
func account(nc *signalingtest.Nextcloud, user string) (load.Credentials, wire.RoomSessionID) {
	return load.Credentials{URL: nc.AuthURL(), Params: nc.AddUser(user, user)}, seatOf(user)
}

func seatOf(user string) wire.RoomSessionID { return wire.RoomSessionID("seat-" + user) }

// measuring begins to measure; what it returns waits for the report.
func measuring(ctx context.Context, t *testing.T, run *load.Run, window time.Duration) func() *load.Report {
	type result struct {
		report *load.Report
		err    error
	}
	done := make(chan result, 1)
	go func() {
		report, err := run.Measure(ctx, window)
		done <- result{report, err}
	}()
	return func() *load.Report {
		t.Helper()
		r := <-done
		if r.err != nil {
			t.Fatal(r.err)
		}
		return r.report
	}
}

// externalRoom is the cluster's name of a Nextcloud's room.
func externalRoom(t *testing.T, nc *signalingtest.Nextcloud, name string) string {
	t.Helper()
	registry, err := backend.NewRegistry([]backend.Instance{nc.Instance()})
	if err != nil {
		t.Fatal(err)
	}
	id, err := registry.Resolve(nc.URL())
	if err != nil {
		t.Fatal(err)
	}
	return store.RoomID{Backend: id, Name: name}.String()
}

// callers are in the call with the flags that Talk's clients have with and
// without camera and microphone.
func callers(publishers, subscribers []wire.RoomSessionID) []signalingtest.Caller {
	var all []signalingtest.Caller
	add := func(seats []wire.RoomSessionID, flags backend.Flags) {
		for _, seat := range seats {
			all = append(all, signalingtest.Caller{Session: seat, UserID: strings.TrimPrefix(string(seat), "seat-"), InCall: flags})
		}
	}
	add(publishers, backend.FlagInCall|backend.FlagAudio|backend.FlagVideo)
	add(subscribers, backend.FlagInCall)
	return all
}
