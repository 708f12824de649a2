package media

import (
	"time"

	"github.com/pion/rtcp"
)

// reportInterval is the time between two sender reports of a track.
const reportInterval = time.Second

// maxReports go into one packet, which with their names stays below any MTU.
const maxReports = 20

// attend sends reports, follows the layers and answers requests until the
// connection ends.
func (s *Subscriber) attend() {
	rounds := newRounds(reportInterval)
	defer rounds.Stop()
	for {
		select {
		case <-s.closing:
			return
		case r := <-s.egress.echo.asked:
			s.answer(r)
		case now := <-rounds.C:
			rounds.next(now)
			silent := s.silent(now)
			s.settle(now)
			s.report(now, silent)
		}
	}
}

func (s *Subscriber) report(now time.Time, silent bool) {
	var tracks []*downTrack
	for _, sub := range s.subs {
		for _, d := range sub.tracks {
			d.review(silent)
			tracks = append(tracks, d)
		}
	}
	for _, packets := range reports(tracks, now) {
		_ = s.pc.WriteRTCP(packets) // fails at the end of the connection, which others tell
	}
}

// reports are the sender reports of tracks, and their names, as many together as
// go into one packet.
func reports(tracks []*downTrack, now time.Time) (together [][]rtcp.Packet) {
	var packets []rtcp.Packet
	names := &rtcp.SourceDescription{}
	flush := func() {
		if len(packets) > 0 {
			together = append(together, append(packets, names))
		}
		packets, names = nil, &rtcp.SourceDescription{}
	}
	for _, d := range tracks {
		r, ok := d.report(now)
		if !ok {
			continue
		}
		packets = append(packets, r)
		names.Chunks = append(names.Chunks, rtcp.SourceDescriptionChunk{
			Source: r.SSRC, Items: []rtcp.SourceDescriptionItem{{Type: rtcp.SDESCNAME, Text: d.stream}},
		})
		if len(packets) == maxReports {
			flush()
		}
	}
	flush()
	return together
}

// report is the track's sender report (RFC 3550 6.4.1), in the wall clock of the
// publisher, so that audio and video of one publisher play in time. Before the
// publisher's first report there is none: another clock would be worse. There is
// none while nothing is sent either.
func (d *downTrack) report(now time.Time) (*rtcp.SenderReport, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.current == nil || d.packets == d.reported || d.out.writer == nil {
		return nil, false
	}
	c, ok := d.current.layer.clockNow()
	if !ok {
		return nil, false
	}
	ntp, ts := c.at(now, d.codec.ClockRate)
	if ts, ok = d.numbering.Timestamp(ts); !ok {
		return nil, false
	}
	d.reported = d.packets
	return &rtcp.SenderReport{SSRC: d.out.ssrc, NTPTime: ntp, RTPTime: ts, PacketCount: d.packets, OctetCount: d.octets}, true
}

// listen takes the subscriber's RTCP about the track from the library until the
// connection ends.
func (d *downTrack) listen() {
	buf := make([]byte, MaxPacket)
	for {
		n, _, err := d.sender.Read(buf)
		if err != nil {
			return
		}
		packets, err := rtcp.Unmarshal(buf[:n])
		if err != nil {
			continue
		}
		for _, r := range requests(packets) {
			d.answer(r)
		}
	}
}

// answer does what a subscriber asks for.
func (d *downTrack) answer(r request) {
	if len(r.lost) > 0 {
		d.metrics.nacks.Add(float64(len(r.lost)))
		d.resend(r.lost)
	}
	if r.key {
		d.keyframe()
	}
}

func appendLost(lost []uint16, pairs []rtcp.NackPair) []uint16 {
	for _, pair := range pairs {
		pair.Range(func(seq uint16) bool {
			if len(lost) < maxNACK {
				lost = append(lost, seq)
			}
			return len(lost) < maxNACK
		})
	}
	return lost
}
