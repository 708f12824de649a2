package cluster_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/talkd/talkd/cluster"
	"github.com/talkd/talkd/cluster/clustertest"
	"github.com/talkd/talkd/store"
)

// A node whose disk is full stops and says so; the others go on, and it catches
// up when there is room.
func TestFullDisk(t *testing.T) { virtual(t, fullDisk) }

func fullDisk(t *testing.T) {
	k := clustertest.New(t)
	k.Add()
	n := k.Prepare()
	if err := os.MkdirAll(n.Config.DataDir, 0o700); err != nil {
		t.Fatal(err)
	}
	err := syscall.Mount("tmpfs", n.Config.DataDir, "tmpfs", 0, "size=4m")
	if errors.Is(err, syscall.EPERM) {
		t.Skip("only root may mount a small disk: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(n.Config.DataDir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	n.Start()
	n.AwaitReady()
	k.Add()
	settled(k)
	leader := k.AwaitLeader()
	if leader == n {
		t.Fatal("the node with the small disk leads, which was not the first")
	}

	filler, err := os.Create(filepath.Join(n.Config.DataDir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = filler.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if err := filler.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(within(t))
	proposed := make(chan int)
	go func() {
		i := 0
		for ; ctx.Err() == nil; i++ {
			if _, err := leader.Propose(ctx, store.NewAssignHome(time.Now(), room(i), leader.ID, 0, store.ReasonNew)); err != nil && ctx.Err() == nil {
				t.Errorf("with one full disk of three: %v", err)
				break
			}
			time.Sleep(10 * time.Millisecond) // virtual time passes only while nobody works
		}
		proposed <- i
	}()
	err = n.Wait()
	cancel()
	t.Logf("%v, after %d decisions", err, <-proposed)
	if !errors.Is(err, cluster.ErrDiskFull) {
		t.Errorf("Run: %v", err)
	}

	if err := os.Remove(filler.Name()); err != nil {
		t.Fatal(err)
	}
	home := place(t, leader, store.RoomID{Name: "after"})
	n.Start()
	n.AwaitReady()
	k.Await("it to catch up", func() bool { got, _ := n.Lookup(store.RoomID{Name: "after"}); return got == home })
}
