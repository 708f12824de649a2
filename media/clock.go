package media

import (
	"sync/atomic"
	"time"
)

// senderClock keeps the mapping of a publisher's last sender report.
type senderClock struct {
	last atomic.Pointer[Clock]
}

func (s *senderClock) now() (Clock, bool) {
	c := s.last.Load()
	if c == nil {
		return Clock{}, false
	}
	return *c, true
}

func (s *senderClock) set(c Clock) { s.last.Store(&c) }

// at returns the publisher's wall clock and the layer's timestamp at a time of
// this node, counted on from the report.
func (c Clock) at(now time.Time, rate uint32) (ntp uint64, rtp uint32) {
	passed := max(now.Sub(c.Arrival), 0)
	return c.NTP + ntpDuration(passed), c.RTP + uint32(uint64(passed)*uint64(rate)/uint64(time.Second))
}

// ntpDuration is a duration in units of 2^-32 s (RFC 3550 4).
func ntpDuration(d time.Duration) uint64 {
	s, rest := uint64(d/time.Second), uint64(d%time.Second)
	return s<<32 | rest<<32/uint64(time.Second)
}
