package load

import (
	"context"
	"testing"
	"time"
)

// Without a server each of three uploads twice what one of two does.
func TestPeerToPeer(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for people, want := range map[int]float64{2: 1.1e6, 3: 2.2e6} {
		got, err := PeerToPeer(ctx, people, Camera(), time.Second)
		if err != nil {
			t.Fatal(err)
		}
		// A second is short: a keyframe is some percent, and on a busy machine the
		// senders are behind at its end. Half or twice as much it is not.
		if got < 0.6*want || got > 1.3*want {
			t.Errorf("%d people: %.2f Mbit/s each, want about %.2f", people, got/1e6, want/1e6)
		}
	}
}

func TestPeerToPeerEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := PeerToPeer(ctx, 2, Camera(), time.Hour); err == nil {
		t.Error("no error")
	}
}
