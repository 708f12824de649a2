//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/talkd/talkd/media/mediatest"
)

// checkTime is how long is sent for a check, checkLimit more packets than that
// makes.
const (
	checkTime      = 2 * time.Second
	checkInterval  = 16 * time.Millisecond
	checkReceivers = 20
	checkLimit     = 4096
	arriveWithin   = 10 * time.Second
)

// Checked is what receivers found who decrypt and look at every packet.
type Checked struct {
	Variant string
	Paced   bool
	Packets int
	Missing int
	Late    int // out of order
	Doubled int
	Altered int
}

// good tells whether nothing is wrong.
func (c Checked) good() bool { return c.Missing+c.Late+c.Doubled+c.Altered == 0 && c.Packets > 0 }

// check sends at a rate that receivers can take, and has every packet checked.
func check(ctx context.Context, c Case, variant string, core int, d time.Duration) (Checked, error) {
	out := Checked{Variant: variant, Paced: c.paced()}
	s, err := connect(ctx, c, variant, core, checkLimit)
	if err != nil {
		return out, err
	}
	sent, err := s.run(Run{d, checkInterval})
	if err == nil {
		err = s.arrived(ctx, sent)
	}
	for _, r := range s.receivers {
		out.add(r.Report(c.Kind), sent)
	}
	return out, errors.Join(err, s.Close())
}

// arrived waits until each receiver has got the last packet.
func (s *session) arrived(ctx context.Context, sent int) error {
	ctx, cancel := context.WithTimeout(ctx, arriveWithin)
	defer cancel()
	for {
		missing := 0
		for _, r := range s.receivers {
			if int(r.Report(s.c.Kind).Last.Counter) != sent-1 {
				missing++
			}
		}
		switch {
		case missing == 0:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("the last packet of %d did not come to %d receivers", sent, missing)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// add counts from the first packet that came, as a connection may be there
// later on one side than on the other. It has to be within the first half.
func (c *Checked) add(r mediatest.Report, sent int) {
	c.Packets += r.Packets
	c.Late += r.Late
	c.Doubled += r.Duplicates
	c.Altered += len(r.Faults)
	due := sent - int(r.First.Counter)
	if r.Packets == 0 || due < sent/2 {
		due = sent
	}
	c.Missing += due - r.Packets
}
