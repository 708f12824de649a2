package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/talkd/talkd/cluster"
	"github.com/talkd/talkd/cluster/clustertest"
	"github.com/talkd/talkd/store"
)

// Many who ask at once, at all nodes and for the same rooms, get one answer
// each room, and the rooms are spread.
func TestPlacementsTogether(t *testing.T) { virtual(t, placementsTogether) }

func placementsTogether(t *testing.T) {
	k := clustertest.Start(t, 3)
	leader := k.AwaitLeader()
	const rooms, askers = 300, 4
	homes := make([][askers]store.Home, rooms)
	var wg sync.WaitGroup
	for i := range rooms {
		for j := range askers {
			wg.Go(func() {
				home, err := k.Node((i+j)%3).Place(within(t), room(i), cluster.Hint{Node: "n1"})
				if err != nil {
					t.Errorf("room %d: %v", i, err)
				}
				homes[i][j] = home
			})
		}
	}
	wg.Wait()
	for i, asked := range homes {
		if asked != [askers]store.Home{asked[0], asked[0], asked[0], asked[0]} {
			t.Errorf("room %d has homes %+v", i, asked)
		}
	}
	if n := leader.State.Rooms(); n != rooms {
		t.Errorf("%d rooms", n)
	}
	// They all came within one round of gossip, and from one edge.
	for n, count := range leader.State.HomeCounts() {
		if count < rooms/5 || count > rooms/2 {
			t.Errorf("%s has %d of %d rooms", n, count, rooms)
		}
	}
}

// Who leads anew knows what was placed a moment ago, though no load of it has
// been measured yet.
func TestNewLeaderKnowsWhatIsFresh(t *testing.T) { virtual(t, newLeaderKnowsWhatIsFresh) }

func newLeaderKnowsWhatIsFresh(t *testing.T) {
	k := clustertest.Start(t, 3)
	settled(k)
	old := k.AwaitLeader()
	awaitVoters(k, 3)
	for i := range 30 {
		if _, err := old.Propose(within(t), store.NewAssignHome(time.Now(), room(1000+i), "n1", 0, store.ReasonNew)); err != nil {
			t.Fatal(err)
		}
	}
	if err := old.Stop(); err != nil {
		t.Fatal(err)
	}
	leader := k.AwaitLeader()
	for i := range 10 {
		if home := place(t, leader, room(i)); home.Node == "n1" {
			t.Errorf("room %d went to the node that has 30 new ones", i)
		}
	}
}

// awaitVoters waits until so many servers vote.
func awaitVoters(k *clustertest.Kit, n int) {
	k.Await("voters", func() bool { return k.AwaitLeader().Status().Voters == n })
}

// A cluster that is full says so, and how full; nobody is placed then.
func TestFullCluster(t *testing.T) { virtual(t, fullCluster) }

func fullCluster(t *testing.T) {
	k := clustertest.New(t)
	var full atomic.Bool
	for range 2 {
		n := k.Prepare()
		n.Load = func() cluster.Load {
			if full.Load() {
				return cluster.Load{Exhausted: true}
			}
			return cluster.Load{Headroom: 100}
		}
		n.Start()
		n.AwaitReady()
	}
	k.AwaitLeader()
	follower := k.Followers()[0]
	place(t, follower, room(1))
	k.Await("headroom", func() bool { return follower.Status().Headroom == 200 })
	if err := follower.Admit(); err != nil {
		t.Errorf("with headroom: %v", err)
	}
	full.Store(true)
	k.Await("no headroom", func() bool { return errors.Is(follower.Admit(), cluster.ErrFull) })
	var err error
	k.Await("the leader's refusal", func() bool {
		_, err = follower.Place(within(t), room(time.Now().Nanosecond()), cluster.Hint{})
		return err != nil
	})
	if want := "the cluster is full: room for 0 more streams"; !errors.Is(err, cluster.ErrFull) || err.Error() != want {
		t.Errorf("%v, want %q", err, want)
	}
	if _, err := follower.Place(within(t), room(1), cluster.Hint{}); err != nil {
		t.Errorf("a room that has a home: %v", err)
	}
}

// BenchmarkPlacements prints how many placements per second three nodes on one
// machine decide, asked by many at once at all three, with the real log on
// disk, beside what an fsync takes there.
func BenchmarkPlacements(b *testing.B) {
	for _, at := range []string{"all", "leader"} {
		for _, asking := range []int{1, 64, 1024} {
			b.Run(fmt.Sprintf("asked-at=%s/at-once=%d", at, asking), func(b *testing.B) {
				k := clustertest.Start(b, 3)
				leader := k.AwaitLeader()
				awaitVoters(k, 3)
				var next atomic.Int64
				ctx, cancel := context.WithCancel(b.Context())
				defer cancel()
				used := cpuTime(b)
				b.ResetTimer()
				var wg sync.WaitGroup
				for i := range asking {
					n := k.Node(i % 3)
					if at == "leader" {
						n = leader
					}
					wg.Go(func() {
						for {
							i := int(next.Add(1))
							if i > b.N {
								return
							}
							if _, err := n.Place(ctx, room(i), cluster.Hint{Node: n.ID}); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				b.StopTimer()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "placements/s")
				// Of all three nodes and of those who ask: what one machine could
				// do if nothing else ran on it.
				b.ReportMetric(float64((cpuTime(b)-used).Microseconds())/float64(b.N), "µs-CPU/placement")
				p50, p99 := fsyncs(b, filepath.Dir(leader.Config.DataDir))
				b.ReportMetric(p50.Seconds()*1e3, "ms/fsync-p50")
				b.ReportMetric(p99.Seconds()*1e3, "ms/fsync-p99")
			})
		}
	}
}

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// fsyncs measures what it takes to make 4 KiB durable in a directory.
func fsyncs(b *testing.B, dir string) (p50, p99 time.Duration) {
	b.Helper()
	f, err := os.CreateTemp(dir, "fsync")
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	took := make([]time.Duration, 200)
	for i := range took {
		began := time.Now()
		if _, err := f.Write(make([]byte, 4096)); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
		took[i] = time.Since(began)
	}
	slices.Sort(took)
	return took[len(took)/2], took[len(took)*99/100]
}
