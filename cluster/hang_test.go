package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/talkd/talkd/cluster"
	"github.com/talkd/talkd/cluster/clustertest"
	"github.com/talkd/talkd/store"
)

// allWell waits until all of three servers vote and are healthy.
func allWell(k *clustertest.Kit) {
	k.Await("all to be well", func() bool {
		for _, n := range k.Running() {
			if s := n.Status(); s.Voters != 3 || !s.Healthy || s.Tolerance != 1 {
				return false
			}
		}
		return true
	})
}

// hang stops the leader from saying and hearing anything, its sockets stay open,
// at any moment between two of its heartbeats.
func hang(k *clustertest.Kit, round int) (others []*clustertest.Node) {
	leader := k.AwaitLeader()
	others = k.Followers()
	time.Sleep(time.Duration(round%7) * 17 * time.Millisecond) // heartbeats are met at any point
	k.Net.Hold(leader.ID)
	return others
}

// A leader that hangs refuses nothing: the others must miss it by themselves, and
// early. In virtual time an election costs nothing but what it waits for.
func TestRoomsAfterTheLeaderHangs(t *testing.T) {
	clustertest.Virtual(t, func(t *testing.T) {
		k := clustertest.Start(t, 3)
		var took []time.Duration
		for round := range 20 {
			allWell(k)
			others := hang(k, round)
			began := time.Now()
			place(t, others[round%2], room(round))
			took = append(took, time.Since(began))
			k.Net.Heal()
		}
		t.Logf("placed after %s", took)
		if most := slices.Max(took); most > 1200*time.Millisecond {
			t.Errorf("a room was placed only %s after the leader hung", most)
		}
	})
}

// What is asked once, and nobody knows whether it was done, is given up when
// another leads, and can be asked again then.
func TestAProposalAfterTheLeaderHangs(t *testing.T) {
	clustertest.Virtual(t, func(t *testing.T) {
		k := clustertest.Start(t, 3)
		allWell(k)
		n := hang(k, 0)[0]
		began := time.Now()
		assign := func() error {
			_, err := n.Propose(within(t), store.NewAssignHome(time.Now(), room(1), n.ID, 0, store.ReasonNew))
			return err
		}
		if err := assign(); !errors.Is(err, cluster.ErrUnknownOutcome) {
			t.Errorf("the hung leader's answer: %v", err)
		}
		if err := assign(); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 1500*time.Millisecond {
			t.Errorf("proposed only %s after the leader hung", took)
		}
	})
}

// BenchmarkLeaderHangs is the time from when the leader hangs until a new room
// has a home that lives, asked for at a follower.
func BenchmarkLeaderHangs(b *testing.B) {
	k := onDisk(b)
	var placed []time.Duration
	for round := 0; b.Loop(); round++ {
		allWell(k)
		leader := k.AwaitLeader()
		n := hang(k, round)[round%2]
		began := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), clustertest.Patience)
		home, err := n.Place(ctx, store.RoomID{Name: fmt.Sprintf("hang-%d-%d", b.N, round)}, cluster.Hint{})
		cancel()
		if err != nil || home.Node == leader.ID {
			b.Fatalf("home %+v: %v", home, err)
		}
		placed = append(placed, time.Since(began))
		k.Net.Heal()
	}
	report(b, "placed", placed)
	b.ReportMetric(float64(slices.Max(placed).Milliseconds()), "placed-max-ms")
	b.ReportMetric(0, "ns/op")
}
