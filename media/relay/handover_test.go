package relay

import (
	"context"
	"testing"
	"time"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/media/mediatest"
	"github.com/talkd/talkd/store"
)

// A sender moves from one node to another while people listen on three: where it
// was, where it goes, and elsewhere. Nobody loses a packet, and the figures say
// what a listener would notice.
func TestSenderMoves(t *testing.T) {
	for _, apart := range []time.Duration{0, 7 * time.Millisecond, 15 * time.Millisecond} {
		t.Run(apart.String(), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 3*waitFor)
			defer cancel()
			n := newNetwork(t, "old", "new", "third")
			nodes := []string{"old", "new", "third"}
			engines := map[string]*media.Engine{}
			for _, id := range nodes {
				engines[id] = n.node(store.NodeID(id)).runEngine()
			}
			was, first := publishClient(ctx, t, engines["old"], media.PubID{Session: "alice", Incarnation: 1, Kind: media.KindVideo, Generation: 1})
			is, second := publishClient(ctx, t, engines["new"], media.PubID{Session: "alice", Incarnation: 2, Kind: media.KindVideo, Generation: 1})
			clients := map[string]*mediatest.Subscriber{}
			subs := map[string]*media.Subscriber{}
			for _, id := range nodes {
				clients[id], subs[id] = subscribeTo(ctx, t, engines[id], first.Publication())
			}
			was.StartWith(is, apart)
			for _, id := range nodes {
				for _, kind := range []string{media.Audio, media.Video} {
					if _, err := clients[id].Wait(ctx, kind, func(r mediatest.Report) bool { return r.Packets >= 25 && r.Missing == 0 }); err != nil {
						t.Fatal(err)
					}
					clients[id].Longest(kind)
				}
			}
			for _, id := range nodes {
				if err := subs[id].Rebind(second.Publication()); err != nil {
					t.Fatal(err)
				}
			}
			for _, id := range nodes {
				for _, kind := range []string{media.Audio, media.Video} {
					have := clients[id].Report(kind).Packets
					r, err := clients[id].Wait(ctx, kind, func(r mediatest.Report) bool {
						return len(r.Streams) == 2 && r.Packets >= have+15 && r.Missing == 0
					})
					if err != nil {
						t.Fatal(err)
					}
					for _, f := range r.Faults {
						t.Errorf("at %s, %s: %s", id, kind, f)
					}
					rate, frame := uint32(48), uint32(960)
					if kind == media.Video {
						rate, frame = 90, 3600
					}
					if len(r.Steps) != 1 {
						t.Fatalf("at %s, %s: %d switches", id, kind, len(r.Steps))
					}
					step := r.Steps[0]
					concealed := max(int(step.Ticks)-int(frame), 0) / int(rate)
					if kind == media.Audio && step.Ticks%frame != 0 {
						t.Errorf("at %s: audio goes on after %d ticks", id, step.Ticks)
					}
					t.Logf("at %-5s %s: %d packets missing, longest time between two %v, %d frames further, timestamps by %d ms, concealed %d ms",
						id, kind, r.Missing, clients[id].Longest(kind).Round(time.Millisecond), step.Frames, step.Ticks/rate, concealed)
				}
			}
			// What was pulled from the old node is let go.
			eventually(t, "old pulls have ended", func() bool { return len(n.node("old").manager.Outgoing()) == 0 })
			_ = first.Close()
		})
	}
}
