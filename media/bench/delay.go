//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// Delay is how long a packet takes from the publisher's socket into the sockets
// of the first, the middle and the last of many receivers, while the forwarding
// process is busy for a part of the time.
type Delay struct {
	Variant       string
	Busy          float64
	Rate          float64 // packets sent to receivers in a second
	P50, P99, Max time.Duration
	Void          string // if so, why
}

const (
	busy       = 0.60
	busyWithin = 0.03 // of which more or less is no answer
	delayTime  = 2 * time.Second
	delayTries = 12
)

// delay measures at the rate at which the process is busy for that part.
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
	probes := s.probes()
	for _, r := range probes {
		if err := errors.Join(r.hear(), r.socket.stamp()); err != nil {
			return d, err
		}
	}
	if err := s.search(); err != nil {
		return d, err
	}
	for range delayTries {
		d, err = s.delays(ctx, probes)
		if err != nil || d.Void == "" {
			return d, err
		}
		s.pace(d.Busy)
	}
	return d, nil
}

// probes are the receivers that are not deaf.
func (s *session) probes() []*receiver {
	n := len(s.receivers)
	return []*receiver{s.receivers[0], s.receivers[n/2], s.receivers[n-1]}
}

// search finds about the rate. What a packet costs depends on how many there are,
// hence several steps.
func (s *session) search() error {
	for range delayTries {
		part, err := s.busy(Run{delayTime / 4, s.c.Interval})
		if err != nil {
			return err
		}
		if math.Abs(part-busy) <= busyWithin/2 {
			return nil
		}
		s.pace(part)
	}
	return nil
}

// pace makes a part of the time for which the process was busy what it should be.
func (s *session) pace(part float64) {
	s.c.Interval = time.Duration(float64(s.c.Interval) * part / busy)
}

// delays measures at the rate that was found.
func (s *session) delays(ctx context.Context, probes []*receiver) (d Delay, err error) {
	if _, err := s.settle(ctx); err != nil {
		return d, err
	}
	for _, r := range probes {
		r.socket.times()
	}
	s.publishers[0].times()
	if d.Busy, err = s.busy(Run{delayTime, s.c.Interval}); err != nil {
		return d, err
	}
	if _, err := s.settle(ctx); err != nil {
		return d, err
	}
	d.Rate = float64(s.c.Burst*s.c.Receivers) / s.c.Interval.Seconds()
	if math.Abs(d.Busy-busy) > busyWithin {
		d.Void = "no rate was right"
		return d, nil
	}
	sent, _ := s.publishers[0].times()
	var all []time.Duration
	for _, r := range probes {
		_, came := r.socket.times()
		if len(sent) != len(came) {
			d.Void = fmt.Sprintf("%d lost", len(sent)-len(came))
			return d, nil
		}
		for i := range sent {
			all = append(all, came[i].Sub(sent[i]))
		}
	}
	slices.Sort(all)
	d.P50, d.P99, d.Max = all[len(all)/2], all[len(all)*99/100], all[len(all)-1]
	return d, nil
}

// busy is the part of a run's time in which the process was on a processor.
func (s *session) busy(r Run) (part float64, err error) {
	before, err := s.usage()
	if err != nil {
		return 0, err
	}
	if _, err := s.run(r); err != nil {
		return 0, err
	}
	after, err := s.usage()
	if err != nil {
		return 0, err
	}
	return float64(after.User+after.System-before.User-before.System) / float64(after.at.Sub(before.at)), nil
}
