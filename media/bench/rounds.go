//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
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
