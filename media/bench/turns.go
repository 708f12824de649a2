//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Window is how long is measured, and how often.
type Window struct {
	Rounds int // that count
	WarmUp time.Duration
	Turns  int // that count, of each contender in a round
	Turn   time.Duration
}

// So many times as many rounds, and turns in each, are tried as are to count. When
// no round is calm at first, no other will be.
const roundPatience, turnPatience = 2, 4

// contender is one way to forward the packets of a case.
type contender struct {
	c       Case
	variant string
}

// Sample is one round of one contender. Times are of the forwarding process, per
// packet that came.
type Sample struct {
	Nanoseconds float64
	User        float64
	Allocations float64
	Packets     int
	Loss        float64
}

// Left is what was left out as the machine was disturbed, of all that was
// measured.
type Left struct {
	Turns, OfTurns, Rounds, OfRounds int
	// None tells that there was too little calm to leave anything out.
	None bool
}

func (l Left) String() string {
	if l.None {
		return fmt.Sprintf("disturbed in %d of %d turns, none left out", l.Turns, l.OfTurns)
	}
	return fmt.Sprintf("%d of %d turns and %d of %d rounds left out", l.Turns, l.OfTurns, l.Rounds, l.OfRounds)
}

// rounds measures contenders against each other. All of a round are connected at
// once and take turns that are short against the whims of a machine; a turn of all
// counts or of none, by what the yardstick says before and after each.
func rounds(ctx context.Context, all []contender, w Window, core int) (samples [][]Sample, left Left, err error) {
	y, err := newYardstick(ctx, core, calibration)
	if err != nil {
		return nil, left, err
	}
	defer func() { err = errors.Join(err, y.Close()) }()
	var calm, restless [][]Sample
	for len(calm) < w.Rounds && left.OfRounds < roundPatience*w.Rounds && (len(calm) > 0 || len(restless) < w.Rounds) {
		turns, err := round(ctx, all, w, core, y)
		if err != nil {
			return nil, left, err
		}
		good := y.good(turns)
		left.OfRounds++
		left.OfTurns += len(turns)
		left.Turns += len(turns) - len(good)
		if len(good) >= w.Turns {
			calm = append(calm, summed(good))
		} else {
			restless = append(restless, summed(turns))
		}
	}
	left.Rounds = len(restless)
	if left.None = len(calm) < w.Rounds; left.None {
		calm = append(calm, restless...)
	}
	return transposed(calm), left, nil
}

// summed is the sample of each contender in a round.
func summed(turns []turn) (samples []Sample) {
	for i := range turns[0].slices {
		var sum Slice
		for _, t := range turns {
			sum.add(t.slices[i])
		}
		samples = append(samples, sum.sample())
	}
	return samples
}

// transposed has the rounds of each contender, instead of the contenders of each
// round.
func transposed(rounds [][]Sample) [][]Sample {
	all := make([][]Sample, len(rounds[0]))
	for _, r := range rounds {
		for i, s := range r {
			all[i] = append(all[i], s)
		}
	}
	return all
}

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
		s, err := connect(ctx, c.c, c.variant, core, 0)
		if err != nil {
			return nil, fmt.Errorf("%s, %s: %w", c.c.Name, c.variant, err)
		}
		sessions = append(sessions, s)
		if err := s.deafen(ctx); err != nil {
			return nil, fmt.Errorf("%s, %s: %w", c.c.Name, c.variant, err)
		}
		if _, err := s.run(Run{w.WarmUp, c.c.Interval}); err != nil {
			return nil, err
		}
		if err := s.ask(ctx); err != nil {
			return nil, err
		}
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

// Slice is what forwarding some packets took.
type Slice struct {
	User, System  time.Duration
	Allocations   float64 // less than none when idle moments vary
	Packets, Sent int     // that came, and that should have
}

func (s *session) slice(ctx context.Context, d time.Duration) (out Slice, err error) {
	came, err := s.settle(ctx)
	if err != nil {
		return out, err
	}
	before, err := s.usage()
	if err != nil {
		return out, err
	}
	idle := s.idle.rate(before)
	packets, err := s.run(Run{d, s.c.Interval})
	if err != nil {
		return out, err
	}
	now, err := s.settle(ctx)
	if err != nil {
		return out, err
	}
	after, err := s.usage()
	if err != nil {
		return out, err
	}
	s.idle.since = after
	for i := range now {
		out.Packets += int(now[i] - came[i])
	}
	out.Sent = packets * s.c.Receivers
	out.User, out.System = after.User-before.User, after.System-before.System
	out.Allocations = float64(after.Allocations-before.Allocations) - s.idle.asking - idle*after.at.Sub(before.at).Seconds()
	return out, nil
}

// idling is what a process allocates when it forwards nothing: connections are
// checked all the time, which has nothing to do with packets.
type idling struct {
	asking float64 // allocations for being asked what it used
	since  usage
	passed time.Duration
	count  float64
}

// rate takes the time since the last slice into account, and returns how much is
// allocated in a second.
func (i *idling) rate(now usage) float64 {
	if !i.since.at.IsZero() {
		i.passed += now.at.Sub(i.since.at)
		i.count += float64(now.Allocations-i.since.Allocations) - i.asking
	}
	return i.count / max(i.passed.Seconds(), 1)
}

// ask finds what asking costs, by slices of nothing.
func (s *session) ask(ctx context.Context) error {
	const times = 5
	var all []float64
	for range times {
		nothing, err := s.slice(ctx, 0)
		if err != nil {
			return err
		}
		all = append(all, nothing.Allocations)
	}
	s.idle = idling{asking: slices.Min(all)}
	return nil
}

// usage is what a process has used since it began, and when that was.
type usage struct {
	Usage
	at time.Time
}

func (s *session) usage() (u usage, err error) {
	u.at = time.Now()
	err = s.p.Call("Node.Usage", None{}, &u.Usage)
	return u, err
}

func (s *Slice) add(more Slice) {
	s.User += more.User
	s.System += more.System
	s.Allocations += more.Allocations
	s.Packets += more.Packets
	s.Sent += more.Sent
}

func (s Slice) sample() Sample {
	n := float64(s.Packets)
	return Sample{
		Nanoseconds: float64(s.User+s.System) / n,
		User:        float64(s.User) / n,
		Allocations: max(s.Allocations, 0) / n,
		Packets:     s.Packets,
		Loss:        1 - n/float64(s.Sent),
	}
}

// median is of what of says of each.
func median[T any](all []T, of func(T) float64) float64 {
	var values []float64
	for _, v := range all {
		values = append(values, of(v))
	}
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}
