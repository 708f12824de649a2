package cluster_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/talkd/talkd/cluster"
	"github.com/talkd/talkd/cluster/clustertest"
	"github.com/talkd/talkd/store"
)

// TestChaos lets people place, move and release rooms on a cluster to which
// everything happens that can: processes are killed, stopped and hang, links
// are cut both ways and one way, gossip is lost, leadership wanders. All of it
// is chosen by a seed. Then everything is mended, and each room must have a
// home that acts; the history of all rooms must be linearizable.
//
// A round takes a second and a half; there are a few by default, and with
// CHAOSTIME as many as fit in it. CHAOS_SEED is the first seed.
func TestChaos(t *testing.T) {
	const rounds, firstSeed = 4, 1
	seed, err := strconv.ParseUint(environment("CHAOS_SEED", strconv.Itoa(firstSeed)), 10, 64)
	if err != nil {
		t.Fatalf("CHAOS_SEED: %v", err)
	}
	length, err := time.ParseDuration(environment("CHAOSTIME", "0s"))
	if err != nil {
		t.Fatalf("CHAOSTIME: %v", err)
	}
	until := time.Now().Add(length)
	for n := 0; n < rounds || time.Now().Before(until); n++ {
		if length > 0 && !time.Now().Before(until) {
			break
		}
		name := fmt.Sprintf("seed %d", seed)
		if !t.Run(name, func(t *testing.T) {
			var c *chaos
			began := time.Now()
			clustertest.Virtual(t, func(t *testing.T) { c = runChaos(t, seed, nil) })
			t.Logf("%s in %s", c, time.Since(began).Round(time.Millisecond))
			if err := c.history.check(drawing(seed)); err != nil {
				t.Errorf("%v\nagain: CHAOS_SEED=%d", err, seed)
			}
		}) {
			t.Fatalf("the seed was %d: CHAOS_SEED=%d repeats it", seed, seed)
		}
		seed++
	}
}

// TestChaosFindsALongLease: a node whose lease is twice as long as the time
// after which its rooms are placed anew acts beside the new home; the check
// must see that.
func TestChaosFindsALongLease(t *testing.T) {
	for seed := range uint64(5) {
		var c *chaos
		clustertest.Virtual(t, func(t *testing.T) {
			c = runChaos(t, seed, func(c *cluster.Cluster) { c.BreakLease(2 * cluster.PlacementAnew) })
		})
		if err := c.history.check(filepath.Join(t.TempDir(), "lease.html")); err != nil {
			t.Logf("seed %d: %v", seed, err)
			return
		}
	}
	t.Error("a lease that is far too long was not noticed")
}

func environment(key, otherwise string) string {
	if v := os.Getenv(key); v != "" {
		return v
	}
	return otherwise
}

// drawing is where a failure is drawn.
func drawing(seed uint64) string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("talkd-chaos-%d.html", seed))
}

// chaos is one round.
type chaos struct {
	t       *testing.T
	k       *clustertest.Kit
	seed    uint64
	rooms   []store.RoomID
	nodes   []*clustertest.Node
	history *history

	mu   sync.Mutex     // guards done
	done map[string]int // how often what was done or refused
}

// How long things take in a round, in virtual time.
const (
	chaosLasts   = 60 * time.Second
	chaosMended  = 40 * time.Second // until everything must be well again
	chaosRooms   = 5
	chaosPatient = 3 * time.Second // of who asks
)

// runChaos does a round. opened changes each node before it runs; may be nil.
func runChaos(t *testing.T, seed uint64, opened func(*cluster.Cluster)) *chaos {
	dice := rand.New(rand.NewPCG(seed, 0))
	c := &chaos{t: t, k: clustertest.New(t), seed: seed, history: newHistory(), done: make(map[string]int)}
	servers := 3 + 2*(seed%2)
	for n := range servers + seed%3 {
		node := c.k.Prepare()
		node.Opened = opened
		if n >= servers { // one without Raft can be a home too
			node.Config.Roles = []string{"signaling", "media"}
		}
		node.Start()
		node.AwaitReady()
		c.nodes = append(c.nodes, node)
	}
	for i := range chaosRooms {
		c.rooms = append(c.rooms, room(i))
	}
	settled(c.k)
	c.k.Net.SetQuality(clustertest.Quality{
		Delay: 100 * time.Microsecond, Jitter: time.Duration(1+dice.IntN(20)) * time.Millisecond,
		Loss: 0.05 * dice.Float64(), Duplicate: 0.02,
	}, seed)

	ctx, cancel := context.WithCancel(t.Context())
	var people sync.WaitGroup
	stop := c.history.watch(c.k, func() []store.RoomID { return c.rooms })
	for _, n := range c.nodes {
		people.Go(func() { c.person(ctx, n, rand.New(rand.NewPCG(seed, uint64(clientOf(n.ID))))) })
	}
	c.faults(dice)
	cancel()
	people.Wait()
	c.mend()
	c.mustBeWell()
	stop()
	return c
}

// String tells what was done.
func (c *chaos) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []string
	for what, n := range c.done {
		all = append(all, fmt.Sprintf("%s %d", what, n))
	}
	slices.Sort(all)
	return fmt.Sprintf("%d operations, %s", len(c.history.ops), strings.Join(all, ", "))
}

func (c *chaos) count(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done[what]++
}

// person asks a node for one thing after the other.
func (c *chaos) person(ctx context.Context, n *clustertest.Node, dice *rand.Rand) {
	me := clientOf(n.ID)
	for ctx.Err() == nil {
		time.Sleep(time.Duration(20+dice.IntN(300)) * time.Millisecond) // of the bubble
		at := n.Current()
		if at == nil {
			continue
		}
		r := c.rooms[dice.IntN(len(c.rooms))]
		to := c.nodes[dice.IntN(len(c.nodes))].ID
		patient, cancel := context.WithTimeout(ctx, chaosPatient)
		call := c.history.now()
		known, has := at.Lookup(r)
		switch p := dice.IntN(10); {
		case p < 5:
			home, err := at.Place(patient, r, cluster.Hint{Node: to})
			if c.answered("place", err) && !has { // what a node knows already may be old
				c.history.add(me, what{"place", r, n.ID}, call, seen{home.Node, home.Epoch})
			}
		case p < 9:
			home, err := at.Move(patient, r, to)
			if c.answered("move", err) {
				c.history.add(me, what{"move", r, n.ID}, call, seen{home.Node, home.Epoch})
			}
		case has && at.Acts(r, known.Epoch): // the home alone finds a room empty
			_, err := at.Propose(patient, store.NewReleaseRoom(time.Now(), r, known.Epoch))
			if c.answered("release", err) {
				c.history.add(me, what{"release", r, n.ID}, call, seen{known.Node, known.Epoch})
			}
		}
		cancel()
	}
}

func (c *chaos) answered(op string, err error) bool {
	if err != nil {
		op += " refused"
	}
	c.count(op)
	return err == nil
}

// faults does one thing after the other to the cluster.
func (c *chaos) faults(dice *rand.Rand) {
	some := func() *clustertest.Node { return c.nodes[dice.IntN(len(c.nodes))] }
	for until := time.Now().Add(chaosLasts); time.Now().Before(until); {
		time.Sleep(time.Duration(200+dice.IntN(4000)) * time.Millisecond) // of the bubble
		a, b := some(), some()
		switch what := dice.IntN(12); {
		case what == 0 && a.Current() != nil:
			c.did("kill", a)
			a.Kill()
		case what == 1 && a.Current() != nil && len(c.k.Running()) > 1:
			c.did("stop", a)
			if err := a.Stop(); err != nil {
				c.t.Errorf("stopping %s: %v", a.ID, err)
			}
		case what == 2:
			c.did("hang", a)
			c.k.Net.Hold(a.ID)
		case what == 3 && a != b:
			c.did("cut", a, b)
			c.k.Net.Cut(a.ID, b.ID)
		case what == 4 && a != b:
			c.did("cut one way", a, b)
			c.k.Net.CutOneWay(a.ID, b.ID)
		case what == 5:
			c.did("isolate", a)
			c.k.Net.Isolate(a.ID)
		case what == 6:
			c.did("lose the gossip of", a)
			c.k.Net.CutGossip(a.ID)
		case what == 7:
			for _, n := range c.k.Running() {
				if at := n.Current(); n != a && at != nil && at.Status().Leader == n.ID {
					c.did("hand over to", a)
					_ = at.TransferLeadership(a.ID) // it may not be there
				}
			}
		case what < 10:
			c.did("heal")
			c.k.Net.Heal()
		default:
			for _, n := range c.nodes {
				if n.Current() == nil {
					c.did("restart", n)
					if err := n.TryStart(); err != nil {
						c.t.Errorf("restarting %s: %v", n.ID, err)
					}
					break
				}
			}
		}
	}
}

func (c *chaos) did(what string, nodes ...*clustertest.Node) {
	c.count(what)
	for _, n := range nodes {
		what += " " + string(n.ID)
	}
	c.history.note(what)
	c.t.Logf("%8s  %s", time.Duration(c.history.now()).Round(time.Millisecond), what)
}

// mend makes everything good again.
func (c *chaos) mend() {
	c.history.note("mended")
	c.k.Net.Heal()
	for _, n := range c.nodes {
		if n.Current() == nil {
			if err := n.TryStart(); err != nil {
				c.t.Errorf("restarting %s: %v", n.ID, err)
			}
		}
	}
}

// mustBeWell waits until every room has a home that all nodes know and that
// acts, and each node can place a new one.
func (c *chaos) mustBeWell() {
	var sick []string
	for until := time.Now().Add(chaosMended); time.Now().Before(until); time.Sleep(50 * time.Millisecond) { // of the bubble
		if sick = c.sick(); len(sick) == 0 {
			break
		}
	}
	for _, s := range sick {
		c.t.Errorf("seed %d: %s after everything was mended: %s", c.seed, chaosMended, s)
	}
	if len(sick) > 0 {
		return
	}
	for _, n := range c.nodes {
		ctx, cancel := context.WithTimeout(c.t.Context(), chaosPatient)
		if _, err := n.Place(ctx, store.RoomID{Name: "new at " + string(n.ID)}, cluster.Hint{}); err != nil {
			c.t.Errorf("seed %d: a new room at %s: %v", c.seed, n.ID, err)
		}
		cancel()
	}
}

func (c *chaos) sick() (all []string) {
	for _, r := range c.rooms {
		first, _ := c.nodes[0].Lookup(r)
		acting := 0
		for _, n := range c.nodes {
			if home, _ := n.Lookup(r); home != first {
				all = append(all, fmt.Sprintf("%s has home %+v at %s, %+v at %s", r, home, n.ID, first, c.nodes[0].ID))
			}
			if _, ok := acts(n.Current(), r); ok {
				acting++
			}
		}
		if first.Node != "" && acting != 1 {
			all = append(all, fmt.Sprintf("%s: %d nodes act, home is %s", r, acting, first.Node))
		}
	}
	for _, n := range c.nodes {
		if !n.Lease() {
			all = append(all, fmt.Sprintf("%s has no lease", n.ID))
		}
	}
	return all
}
