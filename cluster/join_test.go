package cluster_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/talkd/talkd/cluster"
	"github.com/talkd/talkd/cluster/clustertest"
	"github.com/talkd/talkd/cluster/rpc"
	"github.com/talkd/talkd/store"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestJoinTokens(t *testing.T) {
	t.Parallel()
	k := clustertest.Start(t, 1)
	first := k.Node(0)
	used := k.Token()
	second := k.Prepare()
	second.Config.JoinToken = used
	second.Start()
	second.AwaitReady()

	stranger := clustertest.Start(t, 1)
	foreign := stranger.Token()

	for _, c := range []struct {
		name   string
		change func(*cluster.Config)
		want   error
	}{
		{"used", func(c *cluster.Config) { c.JoinToken = used }, cluster.ErrTokenUsed},
		{"expired", func(c *cluster.Config) {
			token, err := first.CreateJoinToken(within(t), time.Millisecond)
			if err != nil {
				t.Fatal(err)
			}
			c.JoinToken = token
		}, cluster.ErrTokenExpired},
		{"of another cluster", func(c *cluster.Config) { c.JoinToken = foreign }, cluster.ErrPinMismatch},
		{"none", func(c *cluster.Config) { c.JoinToken = "" }, cluster.ErrTokenNeeded},
		{"mistyped", func(c *cluster.Config) { c.JoinToken += "x" }, cluster.ErrConfig},
		{"id taken", func(c *cluster.Config) { c.NodeID = "n2" }, cluster.ErrNodeExists},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := k.Prepare()
			c.change(&n.Config)
			err := n.TryStart()
			if err == nil {
				err = n.Wait()
			}
			if !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}

	t.Run("through a follower", func(t *testing.T) {
		n := k.Prepare()
		addr, _ := k.Followers()[0].Addr()
		n.Config.Join = []string{addr}
		n.Start()
		n.AwaitReady()
		if err := n.Stop(); err != nil {
			t.Fatal(err)
		}
		n.Config.JoinToken = "" // the second start needs none
		n.Start()
		n.AwaitReady()
	})
}

// A node whose answer was lost joins with the same token after a restart;
// nobody else does.
func TestJoinIsRepeated(t *testing.T) { virtual(t, joinIsRepeated) }

func joinIsRepeated(t *testing.T) {
	k := clustertest.Start(t, 1)
	n1, n2 := k.Node(0), k.Prepare()
	recorded := func() bool {
		_, ok := n1.State.Node(n2.ID)
		return ok
	}
	k.Net.CutOnce(n1.ID, n2.ID, recorded) // the record is written before the answer
	n2.Start()
	k.Await("the record of the joining node", recorded)
	if err := n2.Stop(); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	k.Net.Heal()

	for name, c := range map[string]struct {
		id   store.NodeID
		want error
	}{
		"the same name with another key": {n2.ID, cluster.ErrNodeExists},
		"another name":                   {"n9", cluster.ErrTokenUsed},
	} {
		n := k.Prepare()
		n.Config.NodeID, n.Config.JoinToken = c.id, n2.Config.JoinToken
		n.Start()
		if err := n.Wait(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}

	n2.Start()
	n2.AwaitReady()
	k.Await("two voters", func() bool { return n1.Status().Voters == 2 })
}

// Who connects to join and says nothing gives the place back soon.
func TestSilentJoinerIsSentAway(t *testing.T) { virtual(t, silentJoinerIsSentAway) }

func silentJoinerIsSentAway(t *testing.T) {
	k := clustertest.Start(t, 1)
	addr, _ := k.Node(0).Addr()
	raw, err := k.Net.Host("stranger").DialContext(within(t), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	conn := tls.Client(raw, &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, NextProtos: []string{rpc.ProtoJoin}})
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(conn); err != nil {
		t.Errorf("still connected: %v", err)
	}
}

func TestFirstTokens(t *testing.T) { virtual(t, firstTokens) }

func firstTokens(t *testing.T) {
	k := clustertest.New(t)
	n := k.Prepare()
	n.Config.Expect = 3
	n.Start()
	n.AwaitReady()
	tokens, err := n.FirstTokens(within(t))
	if err != nil || len(tokens) != 2 || tokens[0] == tokens[1] {
		t.Fatalf("%d tokens: %v", len(tokens), err)
	}
	for _, token := range tokens {
		joiner := k.Prepare()
		joiner.Config.JoinToken = token
		joiner.Start()
		joiner.AwaitReady()
	}
	if tokens, err := n.FirstTokens(within(t)); err != nil || len(tokens) != 0 {
		t.Errorf("%d tokens with all nodes there: %v", len(tokens), err)
	}
}

func TestRemovedNodeStops(t *testing.T) { virtual(t, removedNodeStops) }

func removedNodeStops(t *testing.T) {
	k := clustertest.Start(t, 3)
	n := k.Followers()[0]
	leader := k.AwaitLeader()
	if _, err := leader.Propose(within(t), store.NewRemoveNode(time.Now(), n.ID)); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("without regard to the majority: %v", err)
	}
	if err := leader.Remove(within(t), n.ID); err != nil {
		t.Fatal(err)
	}
	if err := n.Wait(); !errors.Is(err, cluster.ErrRemoved) {
		t.Errorf("Run: %v", err)
	}
	k.Await("two voters", func() bool { return leader.Status().Voters == 2 })
	n.Start()
	if err := n.Wait(); !errors.Is(err, cluster.ErrRemoved) {
		t.Errorf("Run, started again: %v", err)
	}
}

func TestUnknownCommandStops(t *testing.T) { virtual(t, unknownCommandStops) }

func unknownCommandStops(t *testing.T) {
	k := clustertest.Start(t, 1)
	n := k.Node(0)
	go func() { // the answer never comes: the node stops
		_ = n.ApplyRaw([]byte("\x01" + `{"v":99,"op":"assign_home","at":"2026-01-01T00:00:00Z","body":{}}`))
	}()
	err := n.Wait()
	if !errors.Is(err, store.ErrUnknownCommand) {
		t.Fatalf("Run: %v", err)
	}
	t.Log(err)
	// It is no better after a restart.
	n.Start()
	if err := n.Wait(); !errors.Is(err, store.ErrUnknownCommand) {
		t.Errorf("Run, started again: %v", err)
	}
}
