package node

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/media/relay"
	"github.com/talkd/talkd/node/inspect"
)

// A camera with audio and video from n2, of which the video crosses in two
// layers, and a screen from n3.
func streams(seconds uint64) []relay.StreamInfo {
	camera := media.PubID{Session: "s1", Kind: media.KindVideo}
	screen := media.PubID{Session: "s2", Kind: media.KindScreen}
	return []relay.StreamInfo{
		{Group: "abc", From: "n2", Pub: camera, Track: 0, Bytes: 1000 * seconds, Lost: 1},
		{Group: "abc", From: "n2", Pub: camera, Track: 1, Layer: 0, Bytes: 5000 * seconds},
		{Group: "abc", From: "n2", Pub: camera, Track: 1, Layer: 1, Bytes: 10000 * seconds, Lost: 2},
		{Group: "abc", From: "n3", Pub: screen, Track: 0, Bytes: 2000 * seconds},
	}
}

func TestFlowsCountTracksOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		m := newRelayMeter(func() []relay.StreamInfo { return streams(uint64(time.Since(start) / time.Second)) })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- m.Run(ctx) }()
		time.Sleep(3*loadInterval + loadInterval/2) // the bubble's clock
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
		want := []flow{
			{room: "abc", from: "n2", tracks: 2, bps: 128000, lost: 3},
			{room: "abc", from: "n3", tracks: 1, bps: 16000},
		}
		if diff := cmp.Diff(want, m.flows(), cmp.AllowUnexported(flow{})); diff != "" {
			t.Error(diff)
		}
	})
}

// A node that died had many rooms: all are asked about, the others report once.
func TestEdgesAreGatheredOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		c := edgeCache{gather: func(context.Context, ...string) map[string]*inspect.Room {
			calls++
			return map[string]*inspect.Room{"a": {Edges: []inspect.EdgeView{{Node: "n1", Sessions: 2}}}}
		}}
		for range 100 {
			if edges := c.of("a"); len(edges) != 1 || edges[0].Node != "n1" {
				t.Fatalf("edges %v", edges)
			}
			if edges := c.of("b"); edges != nil {
				t.Fatalf("edges %v of a room that nobody is in", edges)
			}
		}
		if calls != 1 {
			t.Errorf("asked %d times", calls)
		}
		time.Sleep(edgesFresh + time.Millisecond) // the bubble's clock
		c.of("a")
		if calls != 2 {
			t.Errorf("asked %d times, want again when the answer is old", calls)
		}
	})
}
