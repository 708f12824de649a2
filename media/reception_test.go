package media

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pion/rtcp"
)

// A receiver report tells of losses since the last one and altogether, of late
// packets as not lost after all, and of the rounds of the sequence numbers.
func TestReception(t *testing.T) {
	now := time.Unix(1000, 0)
	r := reception{rate: 90000}
	if _, ok := r.report(1, nil, now); ok {
		t.Error("a report of nothing")
	}
	at := func(indices ...uint64) {
		for _, i := range indices {
			r.arrived(i, uint32(i)*3000, time.Duration(i)*time.Second/30)
		}
	}
	report := func(want rtcp.ReceptionReport, c *Clock) {
		t.Helper()
		got, ok := r.report(1, c, now)
		if !ok {
			t.Fatal("no report")
		}
		want.SSRC = 1
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	at(65530, 65531, 65533, 65534) // one is missing
	report(rtcp.ReceptionReport{LastSequenceNumber: 65534, FractionLost: 256 / 5, TotalLost: 1}, nil)
	report(rtcp.ReceptionReport{LastSequenceNumber: 65534, TotalLost: 1}, nil)
	at(65532) // comes late
	report(rtcp.ReceptionReport{LastSequenceNumber: 65534}, nil)
	at(65535, 65538, 65539) // two are missing, over the end of a round
	c := &Clock{NTP: 0x1122334455667788, Arrival: now.Add(-1500 * time.Millisecond)}
	report(rtcp.ReceptionReport{
		LastSequenceNumber: 1<<16 + 3, FractionLost: 256 * 2 / 5, TotalLost: 2,
		LastSenderReport: 0x33445566, Delay: 3 << 15,
	}, c)
	at(65529) // from before the first one
	report(rtcp.ReceptionReport{LastSequenceNumber: 1<<16 + 3, TotalLost: 2, LastSenderReport: 0x33445566, Delay: 3 << 15}, c)
	at(200000)
	if b, _ := r.report(1, nil, now); b.FractionLost != 255 {
		t.Errorf("%d/256 are lost", b.FractionLost)
	}
}

// The jitter of packets that come by turns 10 ms early and late goes towards the
// 20 ms by which they differ, and not beyond.
func TestJitter(t *testing.T) {
	r := reception{rate: 48000}
	for i := range uint64(400) {
		after := time.Duration(i)*20*time.Millisecond + 10*time.Millisecond
		if i%2 == 0 {
			after -= 10 * time.Millisecond
		} else {
			after += 10 * time.Millisecond
		}
		r.arrived(i, uint32(i)*960, after)
	}
	b, _ := r.report(1, nil, time.Now())
	if want := uint32(960); b.Jitter < want-8 || b.Jitter > want {
		t.Errorf("a jitter of %d instead of %d", b.Jitter, want)
	}
}
