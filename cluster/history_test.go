package cluster_test

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/talkd/talkd/cluster"
	"github.com/talkd/talkd/cluster/clustertest"
	"github.com/talkd/talkd/store"
)

// history is what was seen of the homes of rooms, on one clock.
//
// Two things are seen: what the cluster decides ("this is the home now"), and
// who may act as a home. Each is a register of the room whose epoch only rises,
// and the history of each must be linearizable: nobody is told of a home after
// anybody was told of a later one, and nobody acts in an epoch after anybody has
// acted in a later one, or after the room was released. So no two ever act.
//
// Between the two there is a time in which nobody acts: the home before acts
// until it knows of the decision, the new one from when that has stopped.
//
// Decisions that nobody was told of (rooms of the dead that are placed anew,
// answers that got lost) are found by the next who sees their epoch.
type history struct {
	began time.Time

	mu    sync.Mutex // guards what follows
	ops   []porcupine.Operation
	notes []porcupine.Annotation
}

func newHistory() *history { return &history{began: time.Now()} }

// what is the input of an operation.
type what struct {
	op   string // place, move, release, act
	room store.RoomID
	by   store.NodeID
}

// part is one of the two registers of a room.
type part struct {
	room store.RoomID
	acts bool
}

// parts are the registers that an operation is of.
func (w what) parts() []part {
	decided, acts := part{w.room, false}, part{w.room, true}
	switch w.op {
	case "act":
		return []part{acts}
	case "release":
		return []part{decided, acts}
	}
	return []part{decided}
}

// seen is its output.
type seen struct {
	node  store.NodeID
	epoch uint64
}

func (h *history) now() int64 { return time.Since(h.began).Nanoseconds() }

// add notes an operation that was begun at call and has ended now.
func (h *history) add(client int, w what, call int64, s seen) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: w, Call: call, Output: s, Return: h.now()})
}

// note writes down what was done to the cluster.
func (h *history) note(text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	at := h.now()
	h.notes = append(h.notes, porcupine.Annotation{Tag: "faults", Start: at, End: at, Description: text})
}

// register is the state of the model: what the room's home was seen to be last.
type register struct {
	seen
	gone bool // released
}

func homes() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return register{} },
		Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
			of := make(map[part]int)
			var parts [][]porcupine.Operation
			for _, op := range all {
				for _, p := range op.Input.(what).parts() {
					if _, ok := of[p]; !ok {
						of[p] = len(parts)
						parts = append(parts, nil)
					}
					parts[of[p]] = append(parts[of[p]], op)
				}
			}
			return parts
		},
		Step: func(state, input, output any) (bool, any) {
			was, is := state.(register), output.(seen)
			now := register{seen: is, gone: input.(what).op == "release"}
			return is.epoch > was.epoch || is.epoch == was.epoch && is.node == was.node && !was.gone, now
		},
		DescribeOperation: func(input, output any) string {
			w, s := input.(what), output.(seen)
			return fmt.Sprintf("%s by %s: %s, epoch %d", w.op, w.by, s.node, s.epoch)
		},
		DescribeState: func(state any) string { return fmt.Sprintf("%+v", state) },
	}
}

// check says whether the history is linearizable. If it is not, html is where
// it is drawn.
func (h *history) check(html string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	model := homes()
	if porcupine.CheckOperations(model, h.ops) {
		return nil
	}
	_, info := porcupine.CheckOperationsVerbose(model, h.ops, 0)
	info.AddAnnotations(h.notes)
	if err := porcupine.VisualizePath(model, info, html); err != nil {
		return fmt.Errorf("%s; drawing it: %w", h.explain(), err)
	}
	return fmt.Errorf("%s; all is drawn in %s", h.explain(), html)
}

// explain finds the first operation that came too late.
func (h *history) explain() string {
	ops := slices.SortedFunc(slices.Values(h.ops), func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
	describe := homes().DescribeOperation
	for _, op := range ops {
		for _, before := range ops {
			if before.Return >= op.Call || !slices.ContainsFunc(before.Input.(what).parts(), func(p part) bool { return slices.Contains(op.Input.(what).parts(), p) }) {
				continue
			}
			was, is := before.Output.(seen), op.Output.(seen)
			if was.epoch > is.epoch || was.epoch == is.epoch && (was.node != is.node || before.Input.(what).op == "release") {
				return fmt.Sprintf("%s: at %s %s, after at %s %s", op.Input.(what).room,
					time.Duration(op.Call), describe(op.Input, op.Output), time.Duration(before.Return), describe(before.Input, before.Output))
			}
		}
	}
	return "two homes at a time"
}

// watchEvery is how often it is looked who acts. Of the samples in which a node
// goes on acting, the first and the last say all.
const watchEvery = 2 * time.Millisecond

// watch writes down who acts as the home of which room until stop is called.
func (h *history) watch(k *clustertest.Kit, rooms func() []store.RoomID) (stop func()) {
	type acting struct {
		node store.NodeID
		room store.RoomID
	}
	type since struct {
		epoch       uint64
		first, last int64
	}
	stopped := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		now := make(map[acting]since)
		end := func(a acting, s since) {
			for _, at := range []int64{s.first, s.last} {
				h.mu.Lock()
				h.ops = append(h.ops, porcupine.Operation{
					ClientId: clientOf(a.node), Input: what{"act", a.room, a.node}, Call: at,
					Output: seen{a.node, s.epoch}, Return: at,
				})
				h.mu.Unlock()
			}
		}
		tick := time.NewTicker(watchEvery)
		defer tick.Stop()
		for {
			select {
			case <-stopped:
				for a, s := range now {
					end(a, s)
				}
				return
			case <-tick.C:
			}
			for _, n := range k.Running() {
				c := n.Current()
				for _, r := range rooms() {
					a := acting{n.ID, r}
					epoch, ok := uint64(0), false
					if c != nil {
						epoch, ok = acts(c, r)
					}
					at := h.now()
					s, before := now[a]
					switch {
					case ok && before && s.epoch == epoch:
						s.last = at
						now[a] = s
					case ok:
						if before {
							end(a, s)
						}
						now[a] = since{epoch, at, at}
					case before:
						end(a, s)
						delete(now, a)
					}
				}
			}
		}
	})
	return func() {
		close(stopped)
		wg.Wait()
	}
}

// clientOf numbers the nodes for the drawing.
func clientOf(id store.NodeID) int {
	n := 0
	_, _ = fmt.Sscanf(string(id), "n%d", &n) // n1, n2, …
	return n
}

// acts tells whether a node may act as the home of a room now, and in which
// epoch.
func acts(n *cluster.Cluster, r store.RoomID) (uint64, bool) {
	home, ok := n.Lookup(r)
	return home.Epoch, ok && n.Acts(r, home.Epoch)
}

// The check sees what it is for.
func TestHistoryIsChecked(t *testing.T) {
	r := room(1)
	op := func(kind string, from, to int64, node store.NodeID, epoch uint64) porcupine.Operation {
		return porcupine.Operation{Input: what{kind, r, node}, Call: from, Output: seen{node, epoch}, Return: to}
	}
	for name, c := range map[string]struct {
		ops  []porcupine.Operation
		good bool
	}{
		"one after the other": {[]porcupine.Operation{
			op("place", 0, 5, "n1", 1), op("act", 2, 2, "n1", 1), op("act", 9, 9, "n1", 1), op("act", 10, 10, "n2", 2),
		}, true},
		"two at a time": {[]porcupine.Operation{
			op("act", 1, 1, "n1", 1), op("act", 2, 2, "n2", 2), op("act", 3, 3, "n1", 1),
		}, false},
		"one epoch, two homes": {[]porcupine.Operation{
			op("act", 1, 1, "n1", 1), op("act", 2, 2, "n2", 1),
		}, false},
		"after a move, until it knows": {[]porcupine.Operation{
			op("place", 0, 5, "n1", 1), op("move", 6, 8, "n2", 2), op("act", 9, 9, "n1", 1), op("act", 10, 10, "n2", 2),
		}, true},
		"after a move, beside the new one": {[]porcupine.Operation{
			op("move", 6, 8, "n2", 2), op("act", 9, 9, "n2", 2), op("act", 10, 10, "n1", 1),
		}, false},
		"after a release": {[]porcupine.Operation{
			op("place", 0, 5, "n1", 1), op("release", 6, 8, "n1", 1), op("act", 9, 9, "n1", 1),
		}, false},
		"an old answer": {[]porcupine.Operation{
			op("move", 0, 1, "n2", 2), op("place", 2, 3, "n1", 1),
		}, false},
	} {
		if got := porcupine.CheckOperations(homes(), c.ops); got != c.good {
			t.Errorf("%s: linearizable %t, want %t", name, got, c.good)
		}
	}
}
