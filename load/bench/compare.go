package bench

import (
	"context"
	"errors"

	"github.com/talkd/talkd/load"
)

// Comparison is what each of some people with cameras sends and gets, by way of
// the nodes and without them: bits a second with all headers.
type Comparison struct {
	People int     `json:"people"`
	Up     float64 `json:"up_bps"`
	Down   float64 `json:"down_bps"`
	PeerUp float64 `json:"peer_to_peer_up_bps"` // and as much down
}

// Compare goes from two people to the target of the scenario, a team.
func Compare(ctx context.Context, cfg Config, told func(Comparison)) error {
	c, err := newCrowd(ctx, cfg)
	if err != nil {
		return err
	}
	return errors.Join(c.compare(ctx, told), c.leave(ctx))
}

func (c *crowd) compare(ctx context.Context, told func(Comparison)) error {
	for n := 2; n <= c.cfg.Scenario.Target; n++ {
		m := c.cfg.Scenario.At(n)
		if err := c.grow(ctx, m); err != nil {
			return err
		}
		if err := load.Wait(ctx, c.cfg.Settle); err != nil {
			return err
		}
		s, err := c.measure(ctx, n)
		if err != nil {
			return err
		}
		peer, err := load.PeerToPeer(ctx, n, c.sendings(m, 0)[0], c.cfg.Window)
		if err != nil {
			return err
		}
		told(Comparison{People: n, Up: s.In / float64(n), Down: s.Out / float64(n), PeerUp: peer})
	}
	return nil
}
