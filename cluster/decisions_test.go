package cluster_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/talkd/talkd/cluster"
	"github.com/talkd/talkd/cluster/clustertest"
	"github.com/talkd/talkd/store"
)

// report prints the median and the 99th percentile of durations.
func report(b *testing.B, name string, all []time.Duration) {
	b.Helper()
	slices.Sort(all)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	b.ReportMetric(ms(all[len(all)/2]), name+"-p50-ms")
	b.ReportMetric(ms(all[len(all)*99/100]), name+"-p99-ms")
}

// BenchmarkPropose is a home proposed, committed by three nodes with logs on
// disk, and applied where it was proposed. An fsync of a page in the directory of
// that node comes before each: the log needs four of them one after the other,
// two on the leader and two on a follower.
func BenchmarkPropose(b *testing.B) {
	for _, at := range []string{"leader", "follower"} {
		b.Run(at, func(b *testing.B) {
			k := onDisk(b)
			k.Await("three voters", func() bool { return k.Node(0).Status().Healthy && k.Node(0).Status().Voters == 3 })
			n := k.AwaitLeader()
			if at == "follower" {
				n = k.Followers()[0]
			}
			f, err := os.Create(n.Config.DataDir + "/fsync")
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			page := make([]byte, 4096)
			var synced, applied []time.Duration
			var epoch uint64
			for b.Loop() {
				began := time.Now()
				if _, err := f.Write(page); err != nil {
					b.Fatal(err)
				}
				if err := f.Sync(); err != nil {
					b.Fatal(err)
				}
				synced = append(synced, time.Since(began))

				began = time.Now()
				r, err := n.Propose(context.Background(), store.NewAssignHome(began, room(1), n.ID, epoch, store.ReasonNew))
				if err != nil {
					b.Fatal(err)
				}
				applied, epoch = append(applied, time.Since(began)), r.Home.Epoch
			}
			report(b, "fsync", synced)
			report(b, "applied", applied)
			b.ReportMetric(0, "ns/op")
		})
	}
}

// onDisk is three nodes whose logs are where other files are, and not in memory.
func onDisk(b *testing.B) *clustertest.Kit {
	b.Helper()
	k := clustertest.New(b)
	for range 3 {
		n := k.Prepare()
		n.Config.DataDir = b.TempDir()
		n.Start()
		n.AwaitReady()
	}
	return k
}

// BenchmarkLeaderLoss is the time from the death of the leader until a new room
// has a home that lives, asked for at a follower.
func BenchmarkLeaderLoss(b *testing.B) {
	k := onDisk(b)
	var placed []time.Duration
	for i := 0; b.Loop(); i++ {
		k.Await("all to be well", func() bool {
			for _, n := range k.Running() {
				s := n.Status()
				if s.Voters != 3 || !s.Healthy || s.Tolerance != 1 {
					return false
				}
			}
			return true
		})
		leader, followers := k.AwaitLeader(), k.Followers()
		time.Sleep(time.Duration(i%7) * 100 * time.Millisecond) // the kill meets heartbeats at any point
		killed := time.Now()
		leader.Kill()
		ctx, cancel := context.WithTimeout(context.Background(), clustertest.Patience)
		home, err := followers[0].Place(ctx, store.RoomID{Name: fmt.Sprintf("loss-%d-%d", b.N, i)}, cluster.Hint{})
		cancel()
		if err != nil || home.Node == leader.ID {
			b.Fatalf("home %+v: %v", home, err)
		}
		placed = append(placed, time.Since(killed))
		leader.Start()
		leader.AwaitReady()
	}
	report(b, "placed", placed)
	b.ReportMetric(float64(slices.Max(placed).Milliseconds()), "placed-max-ms")
	b.ReportMetric(0, "ns/op")
}
