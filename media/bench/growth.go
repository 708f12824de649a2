//go:build linux

package main

import (
	"context"
	"fmt"

	"github.com/talkd/talkd/media"
)

// Growth is by what a packet costs more when there are more receivers of it, in
// rounds in which few and many take turns.
type Growth struct {
	Name         string
	Floor, Talkd Quotient
	Limit        float64
	Rounds       Rounds
}

const maxGrowth = 1.15

func growth(ctx context.Context, burst int, w Window, core int) (Growth, error) {
	g := Growth{Name: fmt.Sprintf("tight, bursts of %d", burst), Limit: maxGrowth}
	few := tight(g.Name, media.Video, 1200, burst, 50, 0)
	many := few
	many.Receivers = 200
	var err error
	if g.Rounds, err = rounds(ctx, []contender{{few, Floor}, {many, Floor}, {few, Talkd}, {many, Talkd}}, w, core); err != nil {
		return g, err
	}
	g.Floor, g.Talkd = ratio(g.Rounds.of(1), g.Rounds.of(0)), ratio(g.Rounds.of(3), g.Rounds.of(2))
	return g, nil
}
