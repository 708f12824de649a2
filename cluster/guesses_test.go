package cluster_test

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/talkd/talkd/cluster"
	"github.com/talkd/talkd/cluster/clustertest"
	"github.com/talkd/talkd/cluster/guesses"
)

// Whoever guesses at one node after the other waits at all of them, also when one was cut
// off meanwhile, or was started anew.
func TestGuessesAreOfTheCluster(t *testing.T) { virtual(t, guessesAreOfTheCluster) }

func guessesAreOfTheCluster(t *testing.T) {
	k := clustertest.Start(t, 2)
	client := k.AddClient()
	from := netip.MustParseAddr("198.51.100.1")
	waits := func(n *clustertest.Node) bool { return n.Guesses().Wait(guesses.Account, "ada", from) > 0 }
	wrong := func(n *clustertest.Node) { n.Guesses().Wrong(guesses.Account, "ada", from) }
	nodes := []*clustertest.Node{k.Node(0), k.Node(1), client}
	for i := range 6 { // two at each
		wrong(nodes[i%3])
	}
	for _, n := range nodes {
		k.Await("a pause at "+string(n.ID), func() bool { return waits(n) })
		if n.Guesses().Wait(guesses.Account, "ben", from) > 0 {
			t.Errorf("%s: another account is not to be tried", n.ID)
		}
	}

	k.Net.Isolate(client.ID)
	from = netip.MustParseAddr("203.0.113.9")
	for range 6 {
		wrong(nodes[0])
	}
	k.Await("a pause at the other one that can be reached", func() bool { return waits(nodes[1]) })
	if waits(client) {
		t.Error("a node that is cut off has heard of it")
	}
	k.Net.Heal()
	k.Await("the node that was cut off to be back", func() bool {
		wrong(nodes[0])
		return waits(client)
	})

	from = netip.MustParseAddr("192.0.2.1")
	for range 4 {
		wrong(client)
	}
	for range 2 {
		wrong(nodes[1])
	}
	k.Await("a pause", func() bool { return waits(client) && waits(nodes[1]) })
	client.Kill()
	client.Start()
	client.AwaitReady()
	if waits(client) || !waits(nodes[0]) {
		t.Errorf("after a restart: there %t, at another node %t", waits(client), waits(nodes[0]))
	}
}

// Join tokens are guessed of the cluster, not of a server. Who has one comes in all the
// same, when the pause is over.
func TestGuessedJoinTokens(t *testing.T) { virtual(t, guessedJoinTokens) }

func guessedJoinTokens(t *testing.T) {
	k := clustertest.Start(t, 3)
	for i := range 12 {
		n := k.Prepare()
		n.Config.JoinToken = k.Node(0).GuessedToken()
		addr, _ := k.Node(i % 2).Addr()
		n.Config.Join = []string{addr}
		n.Start()
		if err := n.Wait(); !errors.Is(err, cluster.ErrTokenUnknown) {
			t.Fatalf("guess %d: %v", i, err)
		}
	}
	k.Await("a pause at the third server", func() bool {
		return k.Node(2).Guesses().Wait(guesses.JoinToken, "", netip.MustParseAddr("127.0.0.1")) > 0
	})
	k.Add()
}
