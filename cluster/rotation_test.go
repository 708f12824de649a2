package cluster_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/talkd/talkd/cluster"
	"github.com/talkd/talkd/cluster/clustertest"
	"github.com/talkd/talkd/cluster/rpc"
	"github.com/talkd/talkd/store"
)

// underLoad places rooms at all nodes and looks at what they see of each other
// until the returned function is called: nothing may fail, and nobody but those
// excused may be seen dead.
func underLoad(t *testing.T, k *clustertest.Kit, excused ...store.NodeID) (stop func()) {
	t.Helper()
	var nodes []*cluster.Cluster
	for _, n := range k.Running() {
		if !slices.Contains(excused, n.ID) {
			nodes = append(nodes, n.Cluster)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var placed atomic.Int64
	for _, n := range nodes {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				r := store.RoomID{Name: fmt.Sprintf("load-%s-%d-%d", n.Self(), time.Now().UnixNano(), i)}
				if _, err := n.Place(ctx, r, cluster.Hint{}); err != nil && ctx.Err() == nil {
					t.Errorf("%s places: %v", n.Self(), err)
					return
				}
				placed.Add(1)
				for _, m := range n.Members() {
					if m.State == cluster.StateDead && !slices.Contains(excused, m.ID) {
						t.Errorf("%s sees %s dead", n.Self(), m.ID)
						return
					}
				}
				select {
				case <-ctx.Done():
				case <-time.After(5 * time.Millisecond): // a load, not a flood
				}
			}
		})
	}
	return func() {
		cancel()
		wg.Wait()
		t.Logf("%d rooms placed meanwhile", placed.Load())
	}
}

// files are what a node keeps of keys and certificates.
func files(t *testing.T, n *clustertest.Node) (gossip, ca, cert string) {
	t.Helper()
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(n.Config.DataDir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	return read("gossip.keys"), read("ca.crt"), read("node.crt")
}

// changedOver checks that all running nodes have one and the same key, another
// one than before.
func changedOver(t *testing.T, k *clustertest.Kit, kind store.KeyKind, before string) {
	t.Helper()
	var first string
	for _, n := range k.Running() {
		text := func() string {
			gossip, ca, _ := files(t, n)
			if kind == store.KeyCA {
				return ca
			}
			return gossip
		}
		one := func(s string) bool {
			return strings.Count(s, "BEGIN CERTIFICATE") == 1 || kind == store.KeyGossip && strings.Count(s, "\n") == 1
		}
		// The last step is applied everywhere, and taken a moment later.
		k.Await("one key on "+string(n.ID), func() bool { return one(text()) })
		if now := text(); first == "" {
			first = now
		} else if now != first {
			t.Errorf("%s has another %s key than the others", n.ID, kind)
		}
	}
	if first == before {
		t.Errorf("the %s key is the old one", kind)
	}
}

func rotate(ctx context.Context, n *clustertest.Node, kind store.KeyKind) error {
	if kind == store.KeyCA {
		return n.RotateCA(ctx)
	}
	return n.RotateGossip(ctx)
}

// Keys are replaced while the cluster works, by whichever node is asked, and
// nobody notices but those who look at the keys.
func TestRotation(t *testing.T) {
	t.Parallel()
	for _, kind := range store.KeyKinds() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			k := clustertest.Start(t, 3)
			c := k.AddClient()
			settledAll(k)
			gossip, ca, _ := files(t, c)
			before := gossip
			if kind == store.KeyCA {
				before = ca
			}
			old := k.Token()
			stop := underLoad(t, k)
			began := time.Now()
			if err := rotate(within(t), c, kind); err != nil {
				t.Fatal(err)
			}
			t.Logf("replaced in %s", time.Since(began).Round(time.Millisecond))
			stop()
			changedOver(t, k, kind, before)
			settledAll(k)

			// A node joins with a token of today, and not with one that names the
			// CA of before.
			n := k.Prepare()
			fresh := n.Config.JoinToken
			if kind == store.KeyCA {
				n.Config.JoinToken = old
				n.Start()
				if err := n.Wait(); !errors.Is(err, cluster.ErrPinMismatch) || !strings.Contains(err.Error(), "replaced since") {
					t.Errorf("with an old token: %v", err)
				}
				n.Config.JoinToken = fresh
			}
			n.Start()
			n.AwaitReady()
			settledAll(k)
			for _, n := range k.Running() { // all find each other with the new keys alone
				n.Kill()
			}
			for i := range 5 {
				k.Node(i).Start()
			}
			settledAll(k)
		})
	}
}

// A node that dies and comes back in the middle, and a change of the leader,
// delay a rotation and break nothing.
func TestRotationGoesOn(t *testing.T) {
	t.Parallel()
	for _, kind := range store.KeyKinds() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			k := clustertest.Start(t, 3)
			c := k.AddClient()
			settledAll(k)
			gossip, ca, _ := files(t, c)
			before := gossip
			if kind == store.KeyCA {
				before = ca
			}
			leader, followers := k.AwaitLeader(), k.Followers()

			// One that is alive and takes no step holds it up, and is named.
			c.Kill()
			k.Await("the client to be gone", func() bool { return state(leader, c.ID) == cluster.StateDead })
			restart := followers[0]
			stop := underLoad(t, k, c.ID, restart.ID)
			done := make(chan error, 1)
			go func() { done <- rotate(within(t), followers[1], kind) }()
			k.Await("it to begin", func() bool { return leader.Keys(kind).Newest() == 2 })
			restart.Kill()
			restart.Start()
			restart.AwaitReady()
			if err := <-done; err != nil {
				t.Error(err)
			}
			stop()
			// Away for all of it, and back.
			c.Start()
			c.AwaitReady()
			settledAll(k)
			changedOver(t, k, kind, before)
			place(t, c, room(1))

			// The leader goes when it has begun: the next one ends it.
			go func() { done <- rotate(within(t), c, kind) }()
			k.Await("it to begin again", func() bool { return c.Keys(kind).Newest() == 3 })
			if err := leader.Stop(); err != nil {
				t.Errorf("Run: %v", err)
			}
			k.AwaitLeader(restart, followers[1])
			if err := <-done; err != nil {
				t.Error(err)
			}
			leader.Start()
			leader.AwaitReady()
			settledAll(k)
			changedOver(t, k, kind, "")
		})
	}
}

// Whoever waits for a rotation is told which node it waits for.
func TestRotationNamesWhoIsBehind(t *testing.T) {
	t.Parallel()
	k := clustertest.Start(t, 3)
	settledAll(k)
	leader, n := k.AwaitLeader(), k.Followers()[0]
	// Gossip sees it, and it tells the leader nothing.
	k.Net.CutOneWay(n.ID, leader.ID)
	k.Net.CutOneWay(leader.ID, n.ID)
	k.Await("it to be named", func() bool {
		short, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		err := leader.RotateGossip(short)
		return errors.Is(err, cluster.ErrRotating) && strings.Contains(err.Error(), string(n.ID)) // else it has only begun
	})
	k.Net.Heal()
	if err := k.AwaitLeader().RotateGossip(within(t)); err != nil {
		t.Errorf("the second time: %v", err)
	}
	if ring := leader.Keys(store.KeyGossip); ring.Newest() != 2 || len(ring.Keys) != 1 {
		t.Errorf("two calls made %d rotations", ring.Newest()-1)
	}
}

// shows is the certificate that a node shows to those who connect.
func shows(t *testing.T, k *clustertest.Kit, n *clustertest.Node) string {
	t.Helper()
	addr, _ := n.Addr()
	raw, err := k.Net.Host("stranger").DialContext(within(t), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	conn := tls.Client(raw, &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, NextProtos: []string{rpc.ProtoJoin}})
	defer conn.Close()
	if err := conn.HandshakeContext(within(t)); err != nil {
		t.Fatal(err)
	}
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

// Certificates are renewed in time on nodes with and without the CA. What is
// connected stays so, and what connects afterwards shows the new one.
func TestCertificatesRenewThemselves(t *testing.T) {
	t.Parallel()
	k := clustertest.Start(t, 1)
	s, c := k.Node(0), k.AddClient()
	settledAll(k)
	stop := underLoad(t, k)
	for _, n := range []*clustertest.Node{s, c} {
		_, _, before := files(t, n)
		until, err := n.RenewCertificate(time.Now())
		if _, _, now := files(t, n); err != nil || now != before {
			t.Errorf("%s renewed what is not due: %v", n.ID, err)
		}
		serial := shows(t, k, n)
		later, err := n.RenewCertificate(until.Add(-24 * time.Hour))
		if err != nil || later.Before(until) {
			t.Errorf("%s: good until %s, before %s: %v", n.ID, later, until, err)
		}
		if _, _, now := files(t, n); now == before {
			t.Errorf("%s keeps the old one", n.ID)
		}
		if shows(t, k, n) == serial {
			t.Errorf("%s shows the old one to those who connect", n.ID)
		}
	}
	stop()
}
