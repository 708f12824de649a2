package media

import (
	"time"

	"github.com/pion/rtcp"
)

const (
	// arrivalInterval is the time between two messages about the arrival of single
	// packets (transport-cc), by which a client estimates its line.
	arrivalInterval = 100 * time.Millisecond
	// receptionInterval is the time between two receiver reports. With them a
	// publisher is reminded of its bitrate limit.
	receptionInterval = time.Second
	// reporterSSRC is whose reports they are. This node sends nothing under it.
	reporterSSRC = 1
)

// attend tells the publisher what arrives, and follows its limit, until the connection
// ends.
func (p *Publisher) attend() {
	rounds := newRounds(arrivalInterval)
	defer rounds.Stop()
	var next time.Time // of a receiver report
	for {
		select {
		case <-p.closing:
			return
		case now := <-rounds.C:
			rounds.next(now)
			var packets []rtcp.Packet
			if !now.Before(next) {
				next = now.Add(receptionInterval - arrivalInterval/2)
				packets = append(p.in.receptions(now), p.limit(p.review())...)
				if p.unanswered(now) > p.e.net.patience.ended {
					p.end(ErrConnection)
				}
			}
			if packets = append(packets, p.in.arrivals()...); len(packets) > 0 {
				_ = p.pc.WriteRTCP(packets) // fails before the handshake
			}
		}
	}
}

// limit reminds the publisher of its bitrate limit (REMB), as Chromium's
// simulcast heeds no other.
func (p *Publisher) limit(bitrate int) []rtcp.Packet {
	ssrcs := p.in.videoSSRCs()
	if bitrate == 0 || len(ssrcs) == 0 {
		return nil
	}
	return []rtcp.Packet{&rtcp.ReceiverEstimatedMaximumBitrate{Bitrate: float32(bitrate), SSRCs: ssrcs}}
}

// arrivals tells of the packets since the last time.
func (in *ingress) arrivals() []rtcp.Packet {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.recorder.BuildFeedbackPacket()
}

// receptions is a receiver report of all SSRCs that have come.
func (in *ingress) receptions(now time.Time) []rtcp.Packet {
	in.mu.Lock()
	defer in.mu.Unlock()
	r := &rtcp.ReceiverReport{SSRC: reporterSSRC}
	for ssrc, c := range in.incoming {
		if c.inlet == nil {
			continue
		}
		var clock *Clock
		if !c.repair {
			clock = c.inlet.clock.last.Load()
		}
		if b, ok := c.report(ssrc, clock, now); ok && len(r.Reports) < 31 {
			r.Reports = append(r.Reports, b)
		}
	}
	if len(r.Reports) == 0 {
		return nil
	}
	return []rtcp.Packet{r}
}
