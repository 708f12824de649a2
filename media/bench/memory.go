//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/talkd/talkd/media"
)

// Memory is what one more receiver's connection takes of a process, in KiB.
type Memory struct {
	Variant string
	Data    bool // with a data channel
	KiB     float64
	Ratio   float64 // to a bare connection of the same kind
}

const (
	memoryReceivers = 100
	memoryTime      = 1500 * time.Millisecond
)

// memoryCase is a video of 2 Mbit/s.
func memoryCase() Case {
	return tight("memory", media.Video, 1200, 8, 1, 0).every(40 * time.Millisecond)
}

// memories compares receivers' connections of the variants to bare ones.
func memories(ctx context.Context, core int) (all []Memory, err error) {
	for _, data := range []bool{false, true} {
		var bare float64
		for _, v := range []string{Bare, Talkd, Plain} {
			kib, err := memory(ctx, v, data, core)
			if err != nil {
				return nil, fmt.Errorf("memory, %s: %w", v, err)
			}
			if v == Bare {
				bare = kib
			}
			all = append(all, Memory{Variant: v, Data: data, KiB: kib, Ratio: kib / bare})
		}
	}
	return all, nil
}

func memory(ctx context.Context, variant string, data bool, core int) (kib float64, err error) {
	s, err := connect(ctx, memoryCase(), variant, core, 0)
	if err != nil {
		return 0, err
	}
	// With one, and the history full, so that what is there once does not count.
	before, err := s.resident(ctx, s.c.Interval/10)
	if err == nil {
		err = s.subscribe(ctx, variant, Subscribe{Data: data}, memoryReceivers)
	}
	var after int
	if err == nil {
		after, err = s.resident(ctx, s.c.Interval)
	}
	return float64(after-before) / 1024 / memoryReceivers, errors.Join(err, s.Close())
}

// resident is the memory of the process after some video.
func (s *session) resident(ctx context.Context, interval time.Duration) (bytes int, err error) {
	if err := s.deafen(ctx); err != nil {
		return 0, err
	}
	if _, err := s.run(Run{memoryTime, interval}); err != nil {
		return 0, err
	}
	err = s.p.Call("Node.Resident", None{}, &bytes)
	return bytes, err
}
