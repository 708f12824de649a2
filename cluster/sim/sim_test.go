package sim

import (
	"bytes"
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func small(t *testing.T, seed uint64) Report {
	t.Helper()
	report, err := Run(t.Context(), Config{Nodes: 60, Rooms: 12_000, People: 40_000, Seed: seed, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// The promises of placement, in a cluster of a size that a test has time for.
func TestSmallCluster(t *testing.T) {
	report := small(t, 1)
	if n := len(report.Phases); n != 5 {
		t.Fatalf("%d phases", n)
	}
	for _, p := range report.Phases {
		if p.Moved != p.Of {
			t.Errorf("%s: %d rooms moved, the lost nodes had %d", p.Name, p.Moved, p.Of)
		}
		if p.Lost > 0 && p.Of == 0 {
			t.Errorf("%s: the lost nodes had no rooms", p.Name)
		}
	}
	// A room of 30 is a larger part of a node's load here than at full size:
	// talkd sim shows the imbalance that is promised.
	if all := report.Phases[1]; all.Imbalance > 1.20 || all.Refused != 0 {
		t.Errorf("with all people: imbalance %.3f, %d refused", all.Imbalance, all.Refused)
	}
	if report.Raft.Placements < 12_000 || report.Raft.Entries > report.Raft.Placements {
		t.Errorf("log %+v", report.Raft)
	}
	var b bytes.Buffer
	report.Write(&b)
	for _, want := range []string{"60 nodes", "a region lost", "max/mean", "gossip"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, &b)
		}
	}
}

// The same seed tells the same story, another one another.
func TestSeeds(t *testing.T) {
	plain := func(seed uint64) Report {
		r := small(t, seed)
		r.Measured = Measured{}
		for i := range r.Phases {
			r.Phases[i].TookMs = 0
		}
		return r
	}
	first := plain(7)
	if again := plain(7); !reflect.DeepEqual(first, again) {
		t.Errorf("%+v\n%+v", first, again)
	}
	if other := plain(8); reflect.DeepEqual(first.Phases, other.Phases) {
		t.Error("another seed, the same story")
	}
}

func TestRefusesAndStops(t *testing.T) {
	for _, cfg := range []Config{
		{}, {Nodes: 3, Rooms: 10, People: 100}, {Nodes: 10_000, Rooms: 10, People: 100},
		{Nodes: 100, Rooms: 10, People: 19}, {Nodes: 100, Rooms: 0, People: 19}, {Nodes: 100, Rooms: 10, People: maxPeople + 1},
	} {
		cfg.Dir = t.TempDir()
		if _, err := Run(t.Context(), cfg); !errors.Is(err, ErrConfig) {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, Config{Nodes: 60, Rooms: 12_000, People: 40_000, Dir: t.TempDir()}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
