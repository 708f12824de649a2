package media

import (
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"
)

type unwritten struct{ webrtc.TrackLocalWriter }

// Every track has its report, also those of a large connection, in packets that
// every network takes.
func TestReportsOfManyTracks(t *testing.T) {
	now := time.Now()
	l := newLayer(Video, &group{}, nil)
	l.up.Store(&uplink{clock: func() (Clock, bool) { return Clock{}, true }})
	var tracks []*downTrack
	for i := range uint32(2 * maxPublications) {
		d := newDownTrack("0123456789abcdef", TrackInfo{Kind: Video, Codec: codecVP8()}, &traffic{}, nil)
		d.out = outlet{writer: unwritten{}, ssrc: i}
		d.current = &tap{layer: l}
		d.packets = 1
		d.numbering.Next(1, 1)
		tracks = append(tracks, d)
	}
	seen := map[uint32]int{}
	for _, packets := range reports(tracks, now) {
		b, err := rtcp.Marshal(packets)
		if err != nil || len(b) > 1100 {
			t.Errorf("%d bytes: %v", len(b), err)
		}
		for _, p := range packets {
			switch p := p.(type) {
			case *rtcp.SenderReport:
				seen[p.SSRC]++
			case *rtcp.SourceDescription:
				for _, c := range p.Chunks {
					seen[c.Source]++
				}
			}
		}
	}
	for i := range uint32(2 * maxPublications) {
		if seen[i] != 2 {
			t.Errorf("track %d: %d of a report and a name", i, seen[i])
		}
	}
	if again := reports(tracks, now); again != nil {
		t.Errorf("reported %d times although nothing was sent", len(again))
	}
}
