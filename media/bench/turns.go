//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// roundWithin bounds a round.
const roundWithin = 3 * time.Minute

// round lets all contenders, which are connected at once, take turns that are short
// against the whims of a machine, and returns the sample of each.
func round(ctx context.Context, all []contender, w Window, core int) (samples []Sample, err error) {
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
	sums := make([]Slice, len(sessions))
	for turn := range w.Turns {
		for i := range sessions {
			at := (turn + i) % len(sessions) // another one first each time
			one, err := sessions[at].slice(ctx, w.Turn)
			if err != nil {
				return nil, err
			}
			sums[at].add(one)
		}
	}
	for _, s := range sums {
		samples = append(samples, s.sample())
	}
	return samples, nil
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
