//go:build linux

package main

import (
	"context"
	"slices"
	"time"
)

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

// Sample is one round of one contender. Times are of the forwarding process, per
// packet that came.
type Sample struct {
	Nanoseconds float64
	User        float64
	Allocations float64
	Packets     int
	Loss        float64
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
