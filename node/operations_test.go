package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/talkd/talkd/api"
	"github.com/talkd/talkd/cluster"
	"github.com/talkd/talkd/node/inspect"
	"github.com/talkd/talkd/store"
)

// orderedCluster does what it is told, and later.
type orderedCluster struct {
	mu      sync.Mutex
	members []cluster.Member
	homes   map[store.RoomID]store.Home
	edges   map[string]*inspect.Room
	refuse  error
	quorum  bool
	rotate  error
}

func (c *orderedCluster) change(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

func (c *orderedCluster) at(id store.NodeID) *cluster.Member {
	return &c.members[slices.IndexFunc(c.members, func(m cluster.Member) bool { return m.ID == id })]
}

func (c *orderedCluster) Members() []cluster.Member {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.members)
}

func (c *orderedCluster) Status() cluster.Status { return cluster.Status{Quorum: c.quorum} }

func (c *orderedCluster) Lookup(r store.RoomID) (store.Home, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h, ok := c.homes[r]
	return h, ok
}

func (c *orderedCluster) Drain(_ context.Context, node store.NodeID, on bool) error {
	if c.refuse == nil {
		c.change(func() { c.at(node).Draining = on })
	}
	return c.refuse
}

func (c *orderedCluster) Move(_ context.Context, room store.RoomID, to store.NodeID) (store.Home, error) {
	if c.refuse != nil {
		return store.Home{}, c.refuse
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	home := c.homes[room]
	if home.Node != to {
		home = store.Home{Node: to, Epoch: home.Epoch + 1}
	}
	c.homes[room] = home
	return home, nil
}

func (c *orderedCluster) Remove(_ context.Context, node store.NodeID) error {
	if c.refuse == nil {
		c.change(func() { c.members = slices.DeleteFunc(c.members, func(m cluster.Member) bool { return m.ID == node }) })
	}
	return c.refuse
}

func (c *orderedCluster) RotateGossip(context.Context) error { return c.rotate }
func (c *orderedCluster) RotateCA(context.Context) error     { return c.rotate }

func (c *orderedCluster) gather(context.Context, ...string) map[string]*inspect.Room {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.edges
}

var podium = store.RoomID{Name: "stage"}

// follow runs a test with two nodes and one room, and gives what was told.
func follow(t *testing.T, test func(t *testing.T, o *operations, c *orderedCluster)) []string {
	t.Helper()
	var told []string
	synctest.Test(t, func(t *testing.T) {
		c := &orderedCluster{
			members: []cluster.Member{member("n1", cluster.StateAlive, true), member("n2", cluster.StateAlive, false)},
			homes:   map[store.RoomID]store.Home{podium: {Node: "n2", Epoch: 1}}, quorum: true, edges: map[string]*inspect.Room{},
		}
		c.at("n2").Rooms, c.at("n2").Load.Sessions = 1, 3
		begun := time.Now()
		o := &operations{
			self: "n1", cluster: c, gather: c.gather, log: slog.New(slog.DiscardHandler), deciding: make(chan struct{}, 1), running: map[string]*followed{},
			publish: func(api.AdminEvent) {}, count: func(api.AdminEvent) {},
			tell: func(_ context.Context, w *inspect.OpEvent) {
				e := fromWire(w)
				if !strings.HasPrefix(e.Op, "n1-") || opNode(e.Op) != "n1" {
					t.Errorf("operation %q", e.Op)
				}
				c.mu.Lock()
				defer c.mu.Unlock()
				told = append(told, fmt.Sprintf("%v %s %s: %s", time.Since(begun).Round(time.Second), e.Kind, e.Phase, e.Detail))
			},
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- o.Run(ctx) }()
		synctest.Wait()
		test(t, o, c)
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
	})
	return told
}

func TestDrainIsFollowed(t *testing.T) {
	got := follow(t, func(t *testing.T, o *operations, c *orderedCluster) {
		op, err := o.Drain(t.Context(), "n2", true)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := o.Drain(t.Context(), "n2", true); err != nil || again != op {
			t.Errorf("the same order again is %q, %v", again, err)
		}
		time.Sleep(2500 * time.Millisecond) // all of the bubble
		c.change(func() { c.at("n2").Rooms, c.at("n2").Load.Sessions = 0, 1 })
		time.Sleep(2 * time.Second)
		c.change(func() { c.at("n2").Load.Sessions = 0 })
		time.Sleep(2 * time.Second)
	})
	want := []string{
		"0s drain accepted: rooms and people are to leave n2",
		"0s drain progress: 1 room and 3 sessions left on n2",
		"3s drain progress: 0 rooms and 1 session left on n2",
		"5s drain done: nobody is left on n2: it can be stopped",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestDrainEndsWithWhatStays(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(c *orderedCluster)
		want   string
	}{
		"people whose clients cannot move": {func(c *orderedCluster) { c.at("n2").Rooms = 0 }, "done: no room is left on n2, but 3 sessions of clients"},
		"rooms without another home":       {func(*orderedCluster) {}, "failed: 1 room cannot leave n2"},
		"taken back":                       {func(c *orderedCluster) { c.at("n2").Draining = false }, "failed: n2 was taken back"},
		"removed":                          {func(c *orderedCluster) { c.members = c.members[:1] }, "done: n2 was removed meanwhile"},
		"dead, its rooms elsewhere":        {func(c *orderedCluster) { c.at("n2").State, c.at("n2").Rooms = cluster.StateDead, 0 }, "done: nobody is left"},
	} {
		t.Run(name, func(t *testing.T) {
			got := follow(t, func(t *testing.T, o *operations, c *orderedCluster) {
				if _, err := o.Drain(t.Context(), "n2", true); err != nil {
					t.Fatal(err)
				}
				time.Sleep(opLook / 2)
				c.change(func() { tt.change(c) })
				time.Sleep(2 * opStill)
			})
			if last := got[len(got)-1]; !strings.Contains(last, tt.want) {
				t.Errorf("%s, want %s", last, tt.want)
			}
		})
	}
}

func TestMoveIsFollowed(t *testing.T) {
	got := follow(t, func(t *testing.T, o *operations, c *orderedCluster) {
		c.edges["stage"] = &inspect.Room{Edges: []inspect.EdgeView{{Node: "n2", Sessions: 2}, {Node: "n1", Sessions: 7}}}
		if _, err := o.Move(t.Context(), podium, "n1"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(1500 * time.Millisecond)
		c.change(func() { c.edges = nil })
		time.Sleep(time.Second)
	})
	want := []string{
		"0s move accepted: room stage is to move from n2 to n1",
		"0s move progress: n1 is the home of room stage, 2 sessions left on n2",
		"2s move done: room stage is at home on n1, and so are its people of n2",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestNewestOrder: each order is decided, also one that was given before, and the
// newest about a room or a node is the one that is followed on.
func TestNewestOrder(t *testing.T) {
	got := follow(t, func(t *testing.T, o *operations, c *orderedCluster) {
		c.edges["stage"] = &inspect.Room{Edges: []inspect.EdgeView{{Node: "n2", Sessions: 2}, {Node: "n1", Sessions: 2}}}
		var ops []string
		for _, to := range []store.NodeID{"n1", "n2", "n1", "n1"} {
			op, err := o.Move(t.Context(), podium, to)
			if err != nil {
				t.Fatal(err)
			}
			if home, _ := c.Lookup(podium); home.Node != to {
				t.Errorf("ordered to %s, it is at %s", to, home.Node)
			}
			ops = append(ops, op)
			synctest.Wait()
		}
		if ops[2] != ops[3] || ops[0] == ops[2] {
			t.Errorf("operations %q", ops)
		}
		for _, on := range []bool{true, false} {
			if _, err := o.Drain(t.Context(), "n2", on); err != nil || c.at("n2").Draining != on {
				t.Errorf("drain %t: %v, %t", on, err, c.at("n2").Draining)
			}
			synctest.Wait()
		}
		c.change(func() { c.edges = nil })
		time.Sleep(opLook)
	})
	replaced := errReplaced.Error()
	want := []string{
		"0s move accepted: room stage is to move from n2 to n1",
		"0s move progress: n1 is the home of room stage, 2 sessions left on n2",
		"0s move accepted: room stage is to move from n1 to n2",
		"0s move failed: " + replaced,
		"0s move progress: n2 is the home of room stage, 2 sessions left on n1",
		"0s move accepted: room stage is to move from n2 to n1",
		"0s move failed: " + replaced,
		"0s move progress: n1 is the home of room stage, 2 sessions left on n2",
		"0s drain accepted: rooms and people are to leave n2",
		"0s drain progress: 1 room and 3 sessions left on n2",
		"0s undrain accepted: n2 is to take rooms again",
		"0s drain failed: " + replaced,
		"0s undrain done: n2 takes rooms again",
		"1s move done: room stage is at home on n1, and so are its people of n2",
	}
	slices.Sort(want) // of two operations, either may tell first
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestMovedByAnotherNode: an order that was given at another node is seen by what
// was decided.
func TestMovedByAnotherNode(t *testing.T) {
	got := follow(t, func(t *testing.T, o *operations, c *orderedCluster) {
		if _, err := o.Move(t.Context(), podium, "n1"); err != nil {
			t.Fatal(err)
		}
		c.change(func() { c.homes[podium] = store.Home{Node: "n2", Epoch: 3} })
		time.Sleep(opLook)
	})
	if last := got[len(got)-1]; !strings.HasSuffix(last, "move failed: room stage was moved on to n2") {
		t.Error(last)
	}
}

func TestOtherOperations(t *testing.T) {
	got := follow(t, func(t *testing.T, o *operations, c *orderedCluster) {
		for _, order := range []func() (string, error){
			func() (string, error) { return o.Drain(t.Context(), "n2", false) },
			func() (string, error) { return o.Move(t.Context(), podium, "n2") },
			func() (string, error) { return o.Rotate(t.Context(), store.KeyGossip) },
			func() (string, error) {
				c.rotate = errors.New("n2 uses the old one")
				return o.Rotate(t.Context(), store.KeyCA)
			},
			func() (string, error) { return o.Remove(t.Context(), "n2") },
			func() (string, error) { return o.Remove(t.Context(), "n1") },
		} {
			if _, err := order(); err != nil {
				t.Error(err)
			}
			synctest.Wait()
		}
	})
	want := []string{
		"0s undrain accepted: n2 is to take rooms again",
		"0s undrain done: n2 takes rooms again",
		"0s move accepted: room stage is to move from n2 to n2",
		"0s move done: n2 is the home of room stage already",
		"0s rotate_gossip accepted: the gossip key is to be replaced on all nodes",
		"0s rotate_gossip done: all nodes that are alive use the new gossip key",
		"0s rotate_ca accepted: the certificate authority is to be replaced on all nodes",
		"0s rotate_ca failed: n2 uses the old one; it goes on by itself when they answer",
		"0s remove accepted: n2 is to be removed from the cluster",
		"0s remove done: n2 does not belong to the cluster any more",
		"0s remove accepted: n1 is to be removed from the cluster",
		"0s remove done: n1 has left the cluster, and stops",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestOrdersAreRefused(t *testing.T) {
	follow(t, func(t *testing.T, o *operations, c *orderedCluster) {
		for name, tt := range map[string]struct {
			order func() (string, error)
			want  error
			says  string
		}{
			"no such node":   {func() (string, error) { return o.Drain(t.Context(), "n9", true) }, store.ErrNoSuchNode, ""},
			"nobody else":    {func() (string, error) { c.at("n2").State = cluster.StateDead; return o.Drain(t.Context(), "n1", true) }, api.ErrRefused, "start or undrain another"},
			"no such room":   {func() (string, error) { return o.Move(t.Context(), store.RoomID{Name: "x"}, "n1") }, api.ErrNoRoom, ""},
			"no such target": {func() (string, error) { return o.Move(t.Context(), podium, "n9") }, store.ErrNoSuchNode, ""},
			"costing the majority": {func() (string, error) {
				c.refuse = fmt.Errorf("%w: n3 is silent", cluster.ErrRemoveRefused)
				return o.Remove(t.Context(), "n2")
			}, api.ErrRefused, "n3 is silent"},
			"removing nobody": {func() (string, error) { return o.Remove(t.Context(), "n9") }, store.ErrNoSuchNode, ""},
			"keys, no quorum": {func() (string, error) { c.quorum = false; return o.Rotate(t.Context(), store.KeyCA) }, api.ErrUnavailable, ""},
			"an unfit target": {func() (string, error) {
				c.refuse = fmt.Errorf("%w: n1 is draining", cluster.ErrUnfit)
				return o.Move(t.Context(), podium, "n1")
			}, api.ErrRefused, "n1 is draining; choose another node"},
			"a room that ended": {func() (string, error) { c.refuse = store.ErrNotFound; return o.Move(t.Context(), podium, "n1") }, api.ErrNoRoom, ""},
			"no quorum":         {func() (string, error) { c.refuse = cluster.ErrNoLeader; return o.Drain(t.Context(), "n2", false) }, api.ErrUnavailable, ""},
			"an old node":       {func() (string, error) { c.refuse = cluster.ErrUnsupported; return o.Drain(t.Context(), "n2", false) }, api.ErrRefused, "one version"},
		} {
			c.refuse, c.quorum = nil, true
			c.at("n2").State = cluster.StateAlive
			if op, err := tt.order(); !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%s: %q, %v", name, op, err)
			}
		}
	})
}

// The number of operations is bounded; a node that stops ends those it follows
// and takes no more.
func TestOperationsAreBounded(t *testing.T) {
	var o *operations
	got := follow(t, func(t *testing.T, ops *operations, c *orderedCluster) {
		o = ops
		c.refuse = nil
		for i := range maxOperations {
			room := store.RoomID{Name: fmt.Sprintf("r%d", i)}
			c.change(func() {
				c.homes[room] = store.Home{Node: "n2"}
				edges := maps.Clone(c.edges) // what was gathered before is being read
				edges[room.Name] = &inspect.Room{Edges: []inspect.EdgeView{{Node: "n2", Sessions: 1}}}
				c.edges = edges
			})
			if _, err := o.Move(t.Context(), room, "n1"); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := o.Move(t.Context(), podium, "n1"); !errors.Is(err, api.ErrRefused) {
			t.Errorf("one too many: %v", err)
		}
		synctest.Wait()
	})
	failed := 0
	for _, line := range got {
		if strings.Contains(line, "failed: n1, which followed this, stops") {
			failed++
		}
	}
	if failed != maxOperations || len(o.running) != 0 {
		t.Errorf("%d of %d ended, %d are left", failed, maxOperations, len(o.running))
	}
	o.deciding = make(chan struct{}, 1) // that of the bubble is gone with it
	if _, err := o.Drain(t.Context(), "n2", false); !errors.Is(err, api.ErrRefused) {
		t.Errorf("after the end: %v", err)
	}
}
