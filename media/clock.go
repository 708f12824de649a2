package media

import (
	"sync/atomic"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"
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

// read takes the RTCP of one layer until the connection ends. The library needs
// somebody to read it: its receiver reports are made of what passes here.
func (s *senderClock) read(r *webrtc.RTPReceiver, rid string) {
	buf := make([]byte, MaxPacket)
	for {
		var n int
		var err error
		if rid != "" {
			n, _, err = r.ReadSimulcast(buf, rid)
		} else {
			n, _, err = r.Read(buf)
		}
		if err != nil {
			return
		}
		packets, err := rtcp.Unmarshal(buf[:n])
		if err != nil {
			continue
		}
		for _, p := range packets {
			if sr, ok := p.(*rtcp.SenderReport); ok {
				s.last.Store(&Clock{NTP: sr.NTPTime, RTP: sr.RTPTime, Arrival: time.Now()})
			}
		}
	}
}

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
