package signaling

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talkd/talkd/signaling/internal/signalpb"
)

// TestPulse: a peer that says nothing is noticed within three beats, and so is one
// that goes on speaking and hears nothing, a beat later; one that is slow is taken
// for neither.
func TestPulse(t *testing.T) {
	const beat = time.Second
	for name, c := range map[string]struct {
		hears, speaks bool // the other end, from a moment on
		delay         time.Duration
		within        time.Duration // zero: never
	}{
		"well":  {hears: true, speaks: true},
		"slow":  {hears: true, speaks: true, delay: 900 * time.Millisecond},
		"hangs": {within: 3 * beat},
		"deaf":  {speaks: true, within: 4 * beat},
		"mute":  {hears: true, within: 3 * beat},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var here, there pulse
				troubled := make(chan struct{})
				pass := func(f *signalpb.Frame, to *pulse) {
					time.AfterFunc(c.delay, func() { to.heard(f) })
				}
				go func() {
					tick := time.NewTicker(beat)
					defer tick.Stop()
					for {
						select {
						case <-ctx.Done():
							return
						case <-tick.C:
						}
						select {
						case <-troubled:
							if f := here.beat(); c.hears {
								pass(f, &there)
							}
							if f := there.beat(); c.speaks {
								pass(f, &here)
							}
						default:
							pass(here.beat(), &there)
							pass(there.beat(), &here)
						}
					}
				}()
				lost := make(chan bool, 1)
				go func() { lost <- here.watch(ctx, beat) }()
				time.Sleep(time.Minute) // of the bubble
				close(troubled)
				began := time.Now()
				select {
				case got := <-lost:
					if took := time.Since(began); !got || took > c.within {
						t.Errorf("lost %t after %v", got, took)
					}
				case <-time.After(time.Minute):
					if c.within > 0 {
						t.Error("not noticed")
					}
					cancel()
					<-lost
				}
			})
		})
	}
}
