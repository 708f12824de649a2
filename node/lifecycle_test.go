package node

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
)

// diary records what happens, in order.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) write(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, line)
}

func (d *diary) service(name string) service {
	return service{name, func(ctx context.Context) error {
		<-ctx.Done()
		d.write("stop " + name)
		return ctx.Err()
	}}
}

func TestStagesStopInReverse(t *testing.T) {
	var d diary
	ctx, cancel := context.WithCancel(t.Context())
	err := runStages(ctx,
		stage{services: []service{d.service("engine")}, started: func(context.Context) error { d.write("engine is up"); return nil }},
		stage{services: []service{d.service("door")}, stopping: func() { d.write("refuse") }, started: func(context.Context) error {
			d.write("door is up")
			cancel()
			return nil
		}},
	)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
	want := []string{"engine is up", "door is up", "refuse", "stop door", "stop engine"}
	if !slices.Equal(d.lines, want) {
		t.Fatalf("%v, want %v", d.lines, want)
	}
}

func TestFailureStopsAll(t *testing.T) {
	var d diary
	broken := errors.New("disk full")
	err := runStages(t.Context(),
		stage{services: []service{d.service("engine")}},
		stage{services: []service{d.service("door"), {"store", func(context.Context) error { return broken }}}},
	)
	if !errors.Is(err, broken) || err.Error() != "store: disk full" {
		t.Fatalf("error %v", err)
	}
	if !slices.Equal(d.lines, []string{"stop door", "stop engine"}) {
		t.Fatalf("%v", d.lines)
	}
}

func TestFailureWhileStarting(t *testing.T) {
	var d diary
	broken := errors.New("no leader")
	err := runStages(t.Context(),
		stage{services: []service{d.service("engine")}, started: func(context.Context) error { return broken }},
		stage{services: []service{d.service("door")}, started: func(context.Context) error { d.write("door is up"); return nil }},
	)
	if !errors.Is(err, broken) {
		t.Fatalf("error %v", err)
	}
	if !slices.Equal(d.lines, []string{"stop engine"}) {
		t.Fatalf("%v", d.lines)
	}
}

func TestServiceThatEndsIsAFailure(t *testing.T) {
	err := runStages(t.Context(), stage{services: []service{{"relay", func(context.Context) error { return nil }}}})
	if err == nil || err.Error() != "relay: ended by itself" {
		t.Fatalf("error %v", err)
	}
}
