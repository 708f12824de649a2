//go:build linux

package main

import (
	"context"
	"errors"
	"slices"
	"time"
)

// Delay is how long a packet takes from the publisher's socket into the socket
// of one receiver of many, while the forwarding process is busy for a part of
// the time.
type Delay struct {
	Variant       string
	Busy          float64
	Rate          float64 // packets sent to receivers in a second
	P50, P99, Max time.Duration
	Lost          int // if any, nothing else is known
}

const (
	busy      = 0.6
	delayTime = 2 * time.Second
)

// delay finds the rate at which the process is busy for that part, then measures.
func delay(ctx context.Context, c Case, variant string, core int) (d Delay, err error) {
	ctx, cancel := context.WithTimeout(ctx, measureWithin)
	defer cancel()
	s, err := connect(ctx, c, variant, core, 0)
	if err != nil {
		return d, err
	}
	d, err = s.delay(ctx)
	d.Variant = variant
	return d, errors.Join(err, s.Close())
}

func (s *session) delay(ctx context.Context) (d Delay, err error) {
	if err := s.deafen(ctx); err != nil {
		return d, err
	}
	// What a packet costs depends on how many there are, hence several steps.
	for range 3 {
		part, err := s.busy(Run{delayTime / 4, s.c.Interval})
		if err != nil {
			return d, err
		}
		s.c.Interval = time.Duration(float64(s.c.Interval) * part / busy)
	}
	probe := s.receivers[0].socket
	if err := errors.Join(s.receivers[0].hear(), probe.stamp()); err != nil {
		return d, err
	}
	if _, err := s.settle(ctx); err != nil {
		return d, err
	}
	probe.times()
	s.publishers[0].times()
	if d.Busy, err = s.busy(Run{delayTime, s.c.Interval}); err != nil {
		return d, err
	}
	if _, err := s.settle(ctx); err != nil {
		return d, err
	}
	sent, _ := s.publishers[0].times()
	_, came := probe.times()
	d.Rate = float64(s.c.Burst*s.c.Receivers) / s.c.Interval.Seconds()
	if d.Lost = len(sent) - len(came); d.Lost != 0 || len(sent) == 0 {
		return d, nil
	}
	var all []time.Duration
	for i := range sent {
		all = append(all, came[i].Sub(sent[i]))
	}
	slices.Sort(all)
	d.P50, d.P99, d.Max = all[len(all)/2], all[len(all)*99/100], all[len(all)-1]
	return d, nil
}

// busy is the part of a run's time in which the process was on a processor.
func (s *session) busy(r Run) (part float64, err error) {
	var before, after Usage
	if err := s.p.Call("Node.Usage", None{}, &before); err != nil {
		return 0, err
	}
	began := time.Now()
	if _, err := s.run(r); err != nil {
		return 0, err
	}
	passed := time.Since(began)
	if err := s.p.Call("Node.Usage", None{}, &after); err != nil {
		return 0, err
	}
	return float64(after.User+after.System-before.User-before.System) / float64(passed), nil
}
