//go:build linux

package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// Window is how long is measured, and how often.
type Window struct {
	Rounds int // that count
	WarmUp time.Duration
	Turns  int // of each contender in a round
	Turn   time.Duration
}

// patience is how many times as many rounds are tried as are to count.
const patience = 3

// contender is one way to forward the packets of a case.
type contender struct {
	c       Case
	variant string
}

// Rounds are the samples of rounds, each with one of every contender.
type Rounds struct {
	Counted [][]Sample
	Left    [][]Sample // out, as the floor was not as in those that count
	Void    string     // why none counts: they are all in Counted then
}

// rounds measures contenders against each other until as many rounds as are to
// count agree. Neighbours on the same hardware slow all contenders of a round down
// alike, so that quotients hold; whether the machine was the same from one round to
// the next only the floor can tell, and only it is asked.
func rounds(ctx context.Context, all []contender, w Window, core int) (r Rounds, err error) {
	for len(r.Counted) < patience*w.Rounds {
		samples, err := round(ctx, all, w, core)
		if err != nil {
			return r, err
		}
		r.Counted = append(r.Counted, samples)
		if same := agreeing(floors(all, r.Counted), w.Rounds); same != nil {
			return r.only(same), nil
		}
	}
	r.Void = fmt.Sprintf("in no %d of %d rounds the floor is the same", w.Rounds, len(r.Counted))
	return r, nil
}

// floors is what a packet costs the floor in each round, with few and many
// receivers together where both take turns.
func floors(all []contender, rounds [][]Sample) []float64 {
	sums := make([]float64, len(rounds))
	for i, samples := range rounds {
		for j, s := range samples {
			if all[j].variant == Floor {
				sums[i] += s.Nanoseconds
			}
		}
	}
	return sums
}

// agreeing are the fastest n rounds whose floors are within maxSpread of each
// other, nil when there are none.
func agreeing(floors []float64, n int) []int {
	order := make([]int, len(floors))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(floors[a], floors[b]) })
	for ; len(order) >= n; order = order[1:] {
		if floors[order[n-1]]-floors[order[0]] <= maxSpread*floors[order[n/2]] {
			return slices.Sorted(slices.Values(order[:n]))
		}
	}
	return nil
}

// only makes those rounds the ones that count.
func (r Rounds) only(those []int) Rounds {
	var out Rounds
	for i, samples := range r.Counted {
		if slices.Contains(those, i) {
			out.Counted = append(out.Counted, samples)
		} else {
			out.Left = append(out.Left, samples)
		}
	}
	return out
}

// of are the samples of one contender in the rounds that count.
func (r Rounds) of(contender int) (samples []Sample) {
	for _, round := range r.Counted {
		samples = append(samples, round[contender])
	}
	return samples
}

func (r Rounds) String() string {
	if len(r.Left) == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d rounds left out", len(r.Left), len(r.Left)+len(r.Counted))
}
