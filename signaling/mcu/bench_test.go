package mcu_test

import (
	"log/slog"
	"testing"

	"github.com/talkd/talkd/signaling/mcu"
	"github.com/talkd/talkd/signaling/wire"
)

// Handle runs on the reader of a socket, so its cost is what matters; the work
// itself is done elsewhere.
func BenchmarkHandle(b *testing.B) {
	e, dir := &fakeEngine{}, newFakeDirectory()
	d := mcu.NewDesk(mcu.Config{Session: own}, e, dir, &fakeHost{}, slog.New(slog.DiscardHandler), nil)
	defer d.Close()
	m := &wire.MediaMessage{
		Type: wire.MediaCandidate, RoomType: wire.RoomTypeVideo, SID: "1",
		Payload: &wire.MediaPayload{Candidate: &wire.Candidate{Candidate: "c"}},
	}
	reply := func(error) {}
	b.ReportAllocs()
	for b.Loop() {
		d.Handle(own, m, reply)
	}
}
