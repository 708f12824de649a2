//go:build linux

package main

import (
	"context"
	"fmt"
	"slices"
)

// maxLoss and maxSpread make a measurement void. Loss is of packets that did not
// come, spread how far the rounds of the floor are apart, as part of the middle one.
const (
	maxLoss   = 0.001
	maxSpread = 0.10
)

// Row is what came of a case.
type Row struct {
	Case     Case
	Variants map[string]Variant
	Void     []string // why it does not count; empty when it does
	Left     Left
	Samples  map[string][]Sample
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
	row := Row{Case: c, Variants: map[string]Variant{}, Samples: map[string][]Sample{}}
	if c.AllCores {
		core = anyCore
	}
	var all []contender
	for _, v := range variants {
		all = append(all, contender{c, v})
	}
	samples, left, err := rounds(ctx, all, w, core)
	if err != nil {
		return row, err
	}
	row.Left = left
	for i, v := range variants {
		row.Samples[v] = samples[i]
	}
	row.summarise()
	return row, nil
}

func (r *Row) summarise() {
	floor := r.Samples[Floor]
	for v, samples := range r.Samples {
		for _, s := range samples {
			if s.Loss > maxLoss || s.Loss < 0 {
				r.Void = append(r.Void, fmt.Sprintf("%s lost %.2f %%", v, 100*s.Loss))
			}
		}
		r.Variants[v] = Variant{
			Nanoseconds: median(each(samples, nanoseconds)),
			User:        median(each(samples, func(s Sample) float64 { return s.User })),
			Allocations: median(each(samples, func(s Sample) float64 { return s.Allocations })),
			Ratio:       ratio(samples, floor),
		}
	}
	slices.Sort(r.Void)
	if why := unsteady(floor); why != "" {
		r.Void = append(r.Void, why)
	}
}

func nanoseconds(s Sample) float64 { return s.Nanoseconds }

// unsteady is why rounds in which the floor was like this do not count; empty when
// they do.
func unsteady(floors ...[]Sample) string {
	var most float64
	for _, samples := range floors {
		all := each(samples, nanoseconds)
		most = max(most, (slices.Max(all)-slices.Min(all))/median(all))
	}
	if most <= maxSpread {
		return ""
	}
	return fmt.Sprintf("the floor spreads by %.0f %%", 100*most)
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
