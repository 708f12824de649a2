//go:build linux

package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Window is how long is measured, and how often.
type Window struct {
	Rounds  int
	WarmUp  time.Duration
	Measure time.Duration
}

// maxLoss and maxSpread make a measurement void. Loss is of packets that did not
// come, spread that of the floor between rounds.
const (
	maxLoss   = 0.001
	maxSpread = 0.10
)

// measureWithin bounds one round of one variant.
const measureWithin = 60 * time.Second

// Sample is one round of one variant. Times are of the forwarding process, per
// packet that came.
type Sample struct {
	Nanoseconds float64
	User        float64
	Allocations float64
	Packets     int
	Loss        float64
}

// Row is what came of a case.
type Row struct {
	Case     Case
	Variants map[string]Variant
	Void     []string // why it does not count; empty when it does
	Samples  map[string][]Sample
}

// Variant is the median of a case. Ratio is the median of the rounds' ratios to
// the floor, between the lowest and the highest.
type Variant struct {
	Nanoseconds     float64
	User            float64
	Allocations     float64
	Ratio           float64
	Lowest, Highest float64
}

// compare measures all variants of a case, each round one after the other.
func compare(ctx context.Context, c Case, w Window, core int) (Row, error) {
	row := Row{Case: c, Variants: map[string]Variant{}, Samples: map[string][]Sample{}}
	if c.AllCores {
		core = anyCore
	}
	for range w.Rounds {
		for _, v := range variants {
			s, err := measure(ctx, c, v, w, core)
			if err != nil {
				return row, fmt.Errorf("%s, %s: %w", c.Name, v, err)
			}
			row.Samples[v] = append(row.Samples[v], s)
		}
	}
	row.summarise()
	return row, nil
}

func measure(ctx context.Context, c Case, variant string, w Window, core int) (Sample, error) {
	ctx, cancel := context.WithTimeout(ctx, measureWithin)
	defer cancel()
	s, err := connect(ctx, c, variant, core, 0)
	if err != nil {
		return Sample{}, err
	}
	sample, err := s.measure(ctx, w)
	if closed := s.Close(); err == nil {
		err = closed
	}
	return sample, err
}

func (s *session) measure(ctx context.Context, w Window) (sample Sample, err error) {
	if err := s.deafen(ctx); err != nil {
		return sample, err
	}
	if _, err := s.run(Run{w.WarmUp, s.c.Interval}); err != nil {
		return sample, err
	}
	came, err := s.settle(ctx)
	if err != nil {
		return sample, err
	}
	var before, after Usage
	if err := s.p.Call("Node.Usage", None{}, &before); err != nil {
		return sample, err
	}
	packets, err := s.run(Run{w.Measure, s.c.Interval})
	if err != nil {
		return sample, err
	}
	now, err := s.settle(ctx)
	if err != nil {
		return sample, err
	}
	if err := s.p.Call("Node.Usage", None{}, &after); err != nil {
		return sample, err
	}
	for i := range now {
		sample.Packets += int(now[i] - came[i])
	}
	n := float64(sample.Packets)
	user := float64(after.User - before.User)
	sample.User = user / n
	sample.Nanoseconds = (user + float64(after.System-before.System)) / n
	sample.Allocations = float64(after.Allocations-before.Allocations) / n
	sample.Loss = 1 - n/float64(packets*s.c.Receivers)
	return sample, nil
}

func (r *Row) summarise() {
	floor := r.Samples[Floor]
	for v, samples := range r.Samples {
		var ratios []float64
		for i, s := range samples {
			ratios = append(ratios, s.Nanoseconds/floor[i].Nanoseconds)
			if s.Loss > maxLoss || s.Loss < 0 {
				r.Void = append(r.Void, fmt.Sprintf("%s lost %.2f %%", v, 100*s.Loss))
			}
		}
		r.Variants[v] = Variant{
			Nanoseconds: median(samples, func(s Sample) float64 { return s.Nanoseconds }),
			User:        median(samples, func(s Sample) float64 { return s.User }),
			Allocations: median(samples, func(s Sample) float64 { return s.Allocations }),
			Ratio:       median(ratios, func(f float64) float64 { return f }),
			Lowest:      slices.Min(ratios),
			Highest:     slices.Max(ratios),
		}
	}
	slices.Sort(r.Void)
	ns := func(s Sample) float64 { return s.Nanoseconds }
	low, high := ns(slices.MinFunc(floor, byTime)), ns(slices.MaxFunc(floor, byTime))
	if spread := (high - low) / median(floor, ns); spread > maxSpread {
		r.Void = append(r.Void, fmt.Sprintf("the floor spreads by %.0f %%", 100*spread))
	}
}

func byTime(a, b Sample) int {
	switch {
	case a.Nanoseconds < b.Nanoseconds:
		return -1
	case a.Nanoseconds > b.Nanoseconds:
		return 1
	}
	return 0
}

func median[T any](all []T, of func(T) float64) float64 {
	var values []float64
	for _, v := range all {
		values = append(values, of(v))
	}
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}
