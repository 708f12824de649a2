package cluster_test

import (
	"context"
	"testing"
	"time"

	"github.com/talkd/talkd/cluster/clustertest"
	"github.com/talkd/talkd/store"
)

// Whoever proposes at a follower sees what was decided as soon as the news can be
// there, and so does everybody else: six ways of one millisecond, and not when
// Raft has something to say to the follower again.
func TestAFollowerHearsAtOnce(t *testing.T) {
	clustertest.Virtual(t, func(t *testing.T) {
		k := clustertest.Start(t, 3)
		allWell(k)
		k.Net.SetQuality(clustertest.Quality{Delay: time.Millisecond}, 1)
		n := k.Followers()[0]
		var epoch uint64
		for range 20 {
			began := time.Now()
			r, err := n.Propose(within(t), store.NewAssignHome(began, room(1), n.ID, epoch, store.ReasonNew))
			if err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took > 10*time.Millisecond {
				t.Errorf("applied after %s", took)
			}
			for _, other := range k.Running() {
				for other.Applied() < n.Applied() {
					time.Sleep(100 * time.Microsecond) // of the bubble
				}
			}
			if took := time.Since(began); took > 10*time.Millisecond {
				t.Errorf("applied everywhere after %s", took)
			}
			epoch = r.Home.Epoch
		}
	})
}

// A server that cannot be told holds up neither the others nor the end of the
// leader, and has it all when it is back.
func TestAFollowerThatHangsHearsLater(t *testing.T) {
	clustertest.Virtual(t, func(t *testing.T) {
		k := clustertest.Start(t, 3)
		allWell(k)
		leader, followers := k.AwaitLeader(), k.Followers()
		k.Net.Hold(followers[0].ID)
		for i := range 50 {
			began := time.Now()
			place(t, followers[1], room(i))
			if took := time.Since(began); took > 10*time.Millisecond {
				t.Errorf("placed after %s", took)
			}
		}
		k.Net.Heal()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := followers[0].Reached(ctx, leader.Applied()); err != nil {
			t.Error(err)
		}
	})
}

// A leader stops at once, also while it waits for the answer of a server that hangs.
func TestALeaderStopsAtOnce(t *testing.T) {
	clustertest.Virtual(t, func(t *testing.T) {
		k := clustertest.Start(t, 3)
		allWell(k)
		leader, followers := k.AwaitLeader(), k.Followers()
		k.Net.Hold(followers[0].ID)
		place(t, followers[1], room(1)) // which it is to be told of
		began := time.Now()
		if err := leader.Stop(); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %s", took)
		}
	})
}
