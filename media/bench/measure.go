//go:build linux

package main

import (
	"context"
	"fmt"
	"slices"
)

// maxLoss and maxSpread make a measurement void. Loss is of packets that did not
// come, in a round that counts; spread is how far rounds of the floor may be apart,
// as part of the middle one.
const (
	maxLoss   = 0.001
	maxSpread = 0.10
)

// Row is what came of a case.
type Row struct {
	Case     Case
	Variants map[string]Variant
	Void     []string // why it does not count; empty when it does
	Rounds   Rounds
}

// Variant is the median of a case.
type Variant struct {
	Nanoseconds float64
	User        float64
	Allocations float64
	Ratio       Quotient // to the floor
}

// compare measures all variants of a case against each other.
func compare(ctx context.Context, c Case, w Window, core int) (Row, error) {
	row := Row{Case: c, Variants: map[string]Variant{}}
	if c.AllCores {
		core = anyCore
	}
	var all []contender
	for _, v := range variants {
		all = append(all, contender{c, v})
	}
	var err error
	if row.Rounds, err = rounds(ctx, all, w, core); err != nil {
		return row, err
	}
	row.summarise()
	return row, nil
}

func (r *Row) summarise() {
	floor := r.Rounds.of(0)
	for i, v := range variants {
		samples := r.Rounds.of(i)
		for _, s := range samples {
			if s.Loss > maxLoss || s.Loss < 0 {
				r.Void = append(r.Void, fmt.Sprintf("%s lost %.2f %%", v, 100*s.Loss))
			}
		}
		r.Variants[v] = Variant{
			Nanoseconds: median(each(samples, func(s Sample) float64 { return s.Nanoseconds })),
			User:        median(each(samples, func(s Sample) float64 { return s.User })),
			Allocations: median(each(samples, func(s Sample) float64 { return s.Allocations })),
			Ratio:       ratio(samples, floor),
		}
	}
	if r.Rounds.Void != "" {
		r.Void = append(r.Void, r.Rounds.Void)
	}
}

func each(samples []Sample, of func(Sample) float64) (values []float64) {
	for _, s := range samples {
		values = append(values, of(s))
	}
	return values
}

func median(values []float64) float64 {
	values = slices.Sorted(slices.Values(values))
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

// Quotient is the median of the rounds' quotients, between the lowest and the
// highest.
type Quotient struct{ Median, Lowest, Highest float64 }

func ratio(of, to []Sample) Quotient {
	var all []float64
	for i := range of {
		all = append(all, of[i].Nanoseconds/to[i].Nanoseconds)
	}
	return Quotient{median(all), slices.Min(all), slices.Max(all)}
}

func (q Quotient) String() string {
	return fmt.Sprintf("**%.2f** (%.2f–%.2f)", q.Median, q.Lowest, q.Highest)
}
