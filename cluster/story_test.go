package cluster_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
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

// TestStories runs testdata/stories/*.txt, each in virtual time on a cluster of
// its own. A story is read from above; what a line does or expects is in
// verbs. In every story it is watched that no room has two homes that act.
func TestStories(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "stories", "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			clustertest.Virtual(t, func(t *testing.T) { tell(t, file) })
		})
	}
}

// story is one that is being told.
type story struct {
	t     *testing.T
	k     *clustertest.Kit
	since time.Time // when the last line that changes something began

	mu    sync.Mutex     // guards rooms
	rooms []store.RoomID // those that were named, for the watch
}

// patience is how long an expectation without a limit may take.
const patience = 15 * time.Second

func tell(t *testing.T, file string) {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := &story{t: t, k: clustertest.New(t)}
	s.k.Net.SetQuality(clustertest.Quality{Delay: 200 * time.Microsecond, Jitter: 800 * time.Microsecond}, 1)
	h := newHistory()
	stop := h.watch(s.k, s.named)
	defer func() {
		stop()
		if err := h.check(filepath.Join(os.TempDir(), "story-"+filepath.Base(file)+".html")); err != nil {
			t.Error(err)
		}
	}()
	began, n := time.Now(), 0
	for lines := bufio.NewScanner(f); lines.Scan(); {
		n++
		line, _, _ := strings.Cut(lines.Text(), "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		verb, ok := verbs()[words[0]]
		if !ok {
			t.Fatalf("%s:%d: no verb %q", file, n, words[0])
		}
		at := time.Since(began)
		if !slices.Contains([]string{"expect", "place", "wait"}, words[0]) {
			s.since = time.Now()
		}
		if err := verb(s, words[1:]); err != nil {
			t.Fatalf("%s:%d: %s: %v", file, n, strings.TrimSpace(line), err)
		}
		t.Logf("%8s  %-60s %s", at.Round(time.Millisecond), strings.TrimSpace(line), (time.Since(began) - at).Round(time.Millisecond))
	}
}

// verbs are what a line of a story may begin with.
func verbs() map[string]func(s *story, args []string) error {
	return map[string]func(s *story, args []string) error{
		// start N: as many nodes, n1, n2, …; the story begins when all are voters.
		"start": func(s *story, args []string) error {
			n, err := strconv.Atoi(one(args))
			if err != nil {
				return err
			}
			for range n {
				s.k.Add()
			}
			settled(s.k)
			return nil
		},
		// network delay D [jitter D] [loss SHARE] [duplicate SHARE] [seed N]
		"network": (*story).network,
		// lead NODE: leadership goes there.
		"lead": func(s *story, args []string) error {
			to := s.node(one(args))
			leader := s.k.AwaitLeader()
			if leader == to {
				return nil
			}
			if err := leader.TransferLeadership(to.ID); err != nil {
				return err
			}
			settled(s.k)
			return s.within(patience, func() (bool, string) { return to.Status().Leader == to.ID, string(to.Status().Leader) })
		},
		// place ROOM at NODE [near NODE] [limit D]: somebody at a node wants the
		// room; expected says with what success.
		"place": (*story).place,
		// put ROOM on NODE: the room's home is there, however that comes.
		"put": (*story).put,
		// move ROOM to NODE at NODE [limit D]
		"move": (*story).move,
		// release ROOM: its home finds it empty.
		"release": (*story).release,
		// drain NODE, undrain NODE: the operator wants it to be left.
		"drain":   func(s *story, args []string) error { return s.drain(one(args), true) },
		"undrain": func(s *story, args []string) error { return s.drain(one(args), false) },
		// kill NODE: SIGKILL. stop NODE: SIGTERM. start again with restart.
		"kill": each(func(s *story, n *clustertest.Node) error { n.Kill(); return nil }),
		"stop": each(func(s *story, n *clustertest.Node) error { return n.Stop() }),
		"restart": each(func(s *story, n *clustertest.Node) error {
			if err := n.TryStart(); err != nil {
				return err
			}
			return nil
		}),
		// cut A B: both ways; cut A -> B: what A sends to B. isolate NODE: from
		// all. hold NODE: it hangs, what it and others say comes with heal.
		"cut":     (*story).cut,
		"isolate": each(func(s *story, n *clustertest.Node) error { s.k.Net.Isolate(n.ID); return nil }),
		"hold":    each(func(s *story, n *clustertest.Node) error { s.k.Net.Hold(n.ID); return nil }),
		"mute":    each(func(s *story, n *clustertest.Node) error { s.k.Net.CutGossip(n.ID); return nil }),
		"heal":    func(s *story, _ []string) error { s.k.Net.Heal(); return nil },
		// wait D
		"wait": func(s *story, args []string) error {
			d, err := time.ParseDuration(one(args))
			time.Sleep(d) // of the bubble
			return err
		},
		// expect FACT [seen by NODE…] [within D] [after D] [for D]: it becomes true
		// within the time, not before after, counted from the line that changed
		// something last, and stays true for a while.
		"expect": (*story).expect,
	}
}

func one(args []string) string {
	if len(args) == 1 {
		return args[0]
	}
	return strings.Join(args, " ")
}

func each(do func(*story, *clustertest.Node) error) func(*story, []string) error {
	return func(s *story, args []string) error {
		for _, a := range args {
			if err := do(s, s.node(a)); err != nil {
				return fmt.Errorf("%s: %w", a, err)
			}
		}
		return nil
	}
}

func (s *story) node(id string) *clustertest.Node { return s.k.ByID(store.NodeID(id)) }

func (s *story) room(name string) store.RoomID {
	r := store.RoomID{Name: name}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.rooms, r) {
		s.rooms = append(s.rooms, r)
	}
	return r
}

func (s *story) named() []store.RoomID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.rooms)
}

// options splits words into those before the first key and the words of each
// key.
func options(args []string, keys ...string) (plain []string, of map[string][]string) {
	of = make(map[string][]string)
	key := ""
	for _, a := range args {
		switch {
		case slices.Contains(keys, a):
			key = a
			of[key] = []string{}
		case key == "":
			plain = append(plain, a)
		default:
			of[key] = append(of[key], a)
		}
	}
	return plain, of
}

// duration is the one of a key, or what it is without.
func duration(of map[string][]string, key string, otherwise time.Duration) (time.Duration, error) {
	if of[key] == nil {
		return otherwise, nil
	}
	return time.ParseDuration(one(of[key]))
}

func (s *story) network(args []string) error {
	_, of := options(args, "delay", "jitter", "loss", "duplicate", "seed")
	var q clustertest.Quality
	var err error
	if q.Delay, err = duration(of, "delay", 0); err != nil {
		return err
	}
	if q.Jitter, err = duration(of, "jitter", 0); err != nil {
		return err
	}
	for key, share := range map[string]*float64{"loss": &q.Loss, "duplicate": &q.Duplicate} {
		if of[key] != nil {
			if *share, err = strconv.ParseFloat(one(of[key]), 64); err != nil {
				return err
			}
		}
	}
	seed := uint64(1)
	if of["seed"] != nil {
		if seed, err = strconv.ParseUint(one(of["seed"]), 10, 64); err != nil {
			return err
		}
	}
	s.k.Net.SetQuality(q, seed)
	return nil
}

// outcome compares what happened with what the line says behind "refused".
func outcome(err error, of map[string][]string) error {
	want, refused := of["refused"]
	switch {
	case !refused || err != nil && !refused:
		return err
	case err == nil:
		return errors.New("it was done")
	case !strings.Contains(err.Error(), one(want)):
		return fmt.Errorf("refused by %w", err)
	}
	return nil
}

func (s *story) limit(of map[string][]string) (context.Context, context.CancelFunc, error) {
	d, err := duration(of, "limit", patience)
	ctx, cancel := context.WithTimeout(s.t.Context(), d)
	return ctx, cancel, err
}

func (s *story) place(args []string) error {
	plain, of := options(args, "at", "near", "limit", "refused")
	ctx, cancel, err := s.limit(of)
	defer cancel()
	if err != nil {
		return err
	}
	var hint cluster.Hint
	if of["near"] != nil {
		hint.Node = store.NodeID(one(of["near"]))
	}
	r := s.room(one(plain))
	_, err = s.node(one(of["at"])).Place(ctx, r, hint)
	return outcome(err, of)
}

func (s *story) put(args []string) error {
	plain, of := options(args, "on")
	r, to := s.room(one(plain)), s.node(one(of["on"]))
	leader := s.k.AwaitLeader()
	home, err := leader.Place(s.t.Context(), r, cluster.Hint{Node: to.ID})
	if err == nil && home.Node != to.ID {
		_, err = leader.Move(s.t.Context(), r, to.ID)
	}
	if err != nil {
		return err
	}
	return s.within(patience, func() (bool, string) {
		_, ok := acts(to.Cluster, r)
		return ok, "it does not act"
	})
}

func (s *story) move(args []string) error {
	plain, of := options(args, "to", "at", "limit", "refused")
	ctx, cancel, err := s.limit(of)
	defer cancel()
	if err != nil {
		return err
	}
	_, err = s.node(one(of["at"])).Move(ctx, s.room(one(plain)), store.NodeID(one(of["to"])))
	return outcome(err, of)
}

func (s *story) release(args []string) error {
	r := s.room(one(args))
	home, ok := s.k.AwaitLeader().Lookup(r)
	if !ok {
		return errors.New("it has no home")
	}
	_, err := s.node(string(home.Node)).Propose(s.t.Context(), store.NewReleaseRoom(time.Now(), r, home.Epoch))
	return err
}

func (s *story) drain(node string, on bool) error {
	return s.k.AwaitLeader().Drain(s.t.Context(), store.NodeID(node), on)
}

func (s *story) cut(args []string) error {
	switch {
	case len(args) == 2:
		s.k.Net.Cut(store.NodeID(args[0]), store.NodeID(args[1]))
	case len(args) == 3 && args[1] == "->":
		s.k.Net.CutOneWay(store.NodeID(args[0]), store.NodeID(args[2]))
	default:
		return errors.New("cut A B, or cut A -> B")
	}
	return nil
}

// within waits until a fact holds. It says what is the case instead.
func (s *story) within(d time.Duration, fact func() (bool, string)) error {
	for until := time.Now().Add(d); ; time.Sleep(5 * time.Millisecond) { // of the bubble
		ok, is := fact()
		if ok {
			return nil
		}
		if !time.Now().Before(until) {
			return fmt.Errorf("not within %s; it is: %s", d, is)
		}
	}
}

func (s *story) expect(args []string) error {
	plain, of := options(args, "seen", "within", "after", "for")
	fact, err := s.fact(plain, of["seen"])
	if err != nil {
		return err
	}
	limit, err := duration(of, "within", patience)
	if err != nil {
		return err
	}
	// Limits count from what was done.
	if err := s.within(limit-time.Since(s.since), fact); err != nil {
		return err
	}
	after, err := duration(of, "after", 0)
	if err != nil {
		return err
	}
	if took := time.Since(s.since); took < after {
		return fmt.Errorf("after %s already", took)
	}
	stays, err := duration(of, "for", 0)
	if err != nil {
		return err
	}
	for until := time.Now().Add(stays); time.Now().Before(until); time.Sleep(5 * time.Millisecond) { // of the bubble
		if ok, is := fact(); !ok {
			return fmt.Errorf("not any more after %s; it is: %s", stays-time.Until(until), is)
		}
	}
	return nil
}

// fact is what the words after expect ask for:
//
//	home ROOM [not] NODE | home ROOM none   all who see it agree
//	acts ROOM NODE | nobody                 who may act as the home
//	leader [not] NODE | leader none
//	lease NODE held | lost
//	state NODE alive | suspect | dead | draining
//	voters N
//	rooms NODE N                            of which it is the home
//	quorum NODE yes | no                    as the node says itself
func (s *story) fact(words, seen []string) (func() (bool, string), error) {
	if len(words) < 2 {
		return nil, errors.New("expect what?")
	}
	by := func() []*clustertest.Node {
		if len(seen) < 2 { // seen by …
			return s.k.Running()
		}
		var nodes []*clustertest.Node
		for _, id := range seen[1:] {
			nodes = append(nodes, s.node(id))
		}
		return nodes
	}
	// all asks each node that sees it for a word.
	all := func(want []string, ask func(n *clustertest.Node) string) func() (bool, string) {
		not := len(want) == 2 && want[0] == "not"
		word := want[len(want)-1]
		return func() (bool, string) {
			ok := true
			var is []string
			for _, n := range by() {
				got := ask(n)
				is = append(is, string(n.ID)+" says "+got)
				ok = ok && (got == word) != not && (!not || got != "none")
			}
			return ok, strings.Join(is, ", ")
		}
	}
	switch words[0] {
	case "home":
		r := s.room(words[1])
		one := all(words[2:], func(n *clustertest.Node) string {
			home, ok := n.Lookup(r)
			if !ok {
				return "none"
			}
			return string(home.Node)
		})
		return func() (bool, string) { // they agree
			ok, is := one()
			homes := make(map[store.Home]bool)
			for _, n := range by() {
				home, _ := n.Lookup(r)
				homes[home] = true
			}
			return ok && len(homes) == 1, is
		}, nil
	case "acts":
		r := s.room(words[1])
		return func() (bool, string) {
			who := "nobody"
			for _, n := range s.k.Running() {
				if _, ok := acts(n.Cluster, r); ok {
					who = string(n.ID)
				}
			}
			return who == one(words[2:]), who
		}, nil
	case "leader":
		return all(words[1:], func(n *clustertest.Node) string {
			if l := n.Status().Leader; l != "" {
				return string(l)
			}
			return "none"
		}), nil
	case "lease":
		n := s.node(words[1])
		return func() (bool, string) {
			is := "lost"
			if n.Lease() {
				is = "held"
			}
			return is == one(words[2:]), is
		}, nil
	case "quorum":
		n := s.node(words[1])
		return func() (bool, string) {
			is := "no"
			if n.Status().Quorum {
				is = "yes"
			}
			return is == one(words[2:]), is
		}, nil
	case "state":
		return all(words[2:], func(n *clustertest.Node) string { return string(state(n, store.NodeID(words[1]))) }), nil
	case "voters":
		return all(words[1:], func(n *clustertest.Node) string { return strconv.Itoa(n.Status().Voters) }), nil
	case "rooms":
		return all(words[2:], func(n *clustertest.Node) string {
			for _, m := range n.Members() {
				if m.ID == store.NodeID(words[1]) {
					return strconv.Itoa(m.Rooms)
				}
			}
			return "no such node"
		}), nil
	}
	return nil, fmt.Errorf("expect %s?", words[0])
}

// virtual runs a test beside others, in virtual time.
func virtual(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	clustertest.Virtual(t, f)
}
