package media

import (
	"time"

	"github.com/pion/rtcp"
)

// maxLost is the most that a report can tell, of 24 bits with a sign.
const maxLost = 1<<23 - 1

// reception is what receiver reports tell of one SSRC (RFC 3550 6.4.1). Packets
// are known by their index, the sequence number with its rounds, and each comes
// once.
type reception struct {
	rate uint32 // of the timestamps

	started  bool
	base     uint64 // the lowest index
	high     uint64 // the highest
	received uint64
	transit  uint32 // of the last packet, in units of the timestamps, from any zero
	jitter   uint32 // in sixteenths of such a unit (A.8)

	// At the last report.
	expectedBefore, receivedBefore uint64
}

// arrived takes note of a packet, after the time since any zero.
func (r *reception) arrived(index uint64, timestamp uint32, after time.Duration) {
	transit := uint32(units(after, uint64(r.rate))) - timestamp
	if !r.started {
		r.started, r.base, r.high, r.transit = true, index, index, transit
	}
	r.received++
	r.base, r.high = min(r.base, index), max(r.high, index)
	d := int32(transit - r.transit)
	r.transit = transit
	r.jitter += uint32(max(d, -d)) - (r.jitter+8)>>4
}

// report is the report block of an SSRC, false before there is anything to tell.
func (r *reception) report(ssrc uint32, c *Clock, now time.Time) (rtcp.ReceptionReport, bool) {
	if !r.started {
		return rtcp.ReceptionReport{}, false
	}
	expected := r.high - r.base + 1
	b := rtcp.ReceptionReport{
		SSRC:               ssrc,
		LastSequenceNumber: uint32(r.high),
		TotalLost:          uint32(min(expected-r.received, maxLost)),
		Jitter:             r.jitter >> 4,
	}
	// Since the last report, late ones may outnumber what was expected (A.3).
	due, came := expected-r.expectedBefore, r.received-r.receivedBefore
	if due > came {
		b.FractionLost = uint8(min((due-came)<<8/due, 255))
	}
	r.expectedBefore, r.receivedBefore = expected, r.received
	if c != nil {
		b.LastSenderReport = uint32(c.NTP >> 16)
		b.Delay = uint32(units(max(now.Sub(c.Arrival), 0), 1<<16))
	}
	return b, true
}

// units is a duration in units of which there are so many in a second.
func units(d time.Duration, perSecond uint64) uint64 {
	s, rest := uint64(d/time.Second), uint64(d%time.Second)
	return s*perSecond + rest*perSecond/uint64(time.Second)
}
