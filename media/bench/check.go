//go:build linux

package main

import (
	"context"
	"errors"
	"time"

	"github.com/talkd/talkd/media/mediatest"
)

// checkTime is how long is sent for a check, checkLimit more packets than are
// sent altogether.
const (
	checkTime      = 2 * time.Second
	checkInterval  = 16 * time.Millisecond
	checkReceivers = 20
	checkLimit     = 4096
)

// Checked is what receivers found who decrypt and look at every packet.
type Checked struct {
	Variant string
	Name    string
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
	out := Checked{Variant: variant, Name: c.Name}
	ctx, cancel := context.WithTimeout(ctx, measureWithin)
	defer cancel()
	s, err := connect(ctx, c, variant, core, checkLimit)
	if err != nil {
		return out, err
	}
	sent, err := s.begin(ctx)
	if err == nil {
		var more int
		more, err = s.run(Run{d, checkInterval})
		sent += more
	}
	if err == nil {
		err = s.until(ctx, func(r mediatest.Report) bool { return int(r.Last.Counter) == sent-1 })
	}
	for _, r := range s.receivers {
		out.add(r.Report(c.Kind), sent)
	}
	return out, errors.Join(err, s.Close())
}

// begin sends until each receiver has got something: a connection may be there
// later on one side than on the other, and then waits for a keyframe.
func (s *session) begin(ctx context.Context) (sent int, err error) {
	for err == nil {
		var n int
		n, err = s.run(Run{checkInterval, checkInterval})
		sent += n
		if s.all(func(r mediatest.Report) bool { return r.Packets > 0 }) {
			return sent, err
		}
		if err == nil && ctx.Err() != nil {
			err = errors.New("nothing comes to some receivers")
		}
	}
	return sent, err
}

// until waits for what each receiver is to report.
func (s *session) until(ctx context.Context, good func(mediatest.Report) bool) error {
	for !s.all(good) {
		if ctx.Err() != nil {
			return errors.New("the last packet did not come to some receivers")
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil
}

func (s *session) all(good func(mediatest.Report) bool) bool {
	for _, r := range s.receivers {
		if !good(r.Report(s.c.Kind)) {
			return false
		}
	}
	return true
}

// add counts from the first packet that came.
func (c *Checked) add(r mediatest.Report, sent int) {
	c.Packets += r.Packets
	c.Late += r.Late
	c.Doubled += r.Duplicates
	c.Altered += len(r.Faults)
	c.Missing += sent - int(r.First.Counter) - r.Packets
}
