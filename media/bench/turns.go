//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// turn is one slice of each contender.
type turn struct {
	slices  []Slice
	slowest time.Duration // by the yardstick
	stolen  bool
}

func (y *yardstick) good(all []turn) (good []turn) {
	for _, t := range all {
		if y.calm(t.slowest) && !t.stolen {
			good = append(good, t)
		}
	}
	return good
}

// roundWithin bounds a round.
const roundWithin = 3 * time.Minute

func round(ctx context.Context, all []contender, w Window, core int, y *yardstick) (turns []turn, err error) {
	ctx, cancel := context.WithTimeout(ctx, roundWithin)
	defer cancel()
	var sessions []*session
	defer func() {
		for _, s := range sessions {
			err = errors.Join(err, s.Close())
		}
	}()
	for _, c := range all {
		s, err := warm(ctx, c, w.WarmUp, core)
		if err != nil {
			return nil, fmt.Errorf("%s, %s: %w", c.c.Name, c.variant, err)
		}
		sessions = append(sessions, s)
	}
	for len(y.good(turns)) < w.Turns && len(turns) < turnPatience*w.Turns && ctx.Err() == nil {
		t, err := oneTurn(ctx, sessions, w.Turn, len(turns), y)
		if err != nil {
			return nil, err
		}
		turns = append(turns, t)
	}
	return turns, nil
}

// warm connects a contender, which has forwarded for a while then.
func warm(ctx context.Context, c contender, d time.Duration, core int) (*session, error) {
	s, err := connect(ctx, c.c, c.variant, core, 0)
	if err != nil {
		return nil, err
	}
	if err = s.deafen(ctx); err == nil {
		_, err = s.run(Run{d, c.c.Interval})
	}
	if err == nil {
		err = s.ask(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// oneTurn begins with another contender each time.
func oneTurn(ctx context.Context, sessions []*session, d time.Duration, first int, y *yardstick) (t turn, err error) {
	t.slices = make([]Slice, len(sessions))
	before, err := stolen(y.core)
	if err != nil {
		return t, err
	}
	if t.slowest, err = y.probe(); err != nil {
		return t, err
	}
	for i := range sessions {
		at := (first + i) % len(sessions)
		if t.slices[at], err = sessions[at].slice(ctx, d); err != nil {
			return t, err
		}
		took, err := y.probe()
		if err != nil {
			return t, err
		}
		t.slowest = max(t.slowest, took)
	}
	after, err := stolen(y.core)
	t.stolen = after != before
	return t, err
}
