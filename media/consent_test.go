package media_test

import (
	"testing"
	"time"

	"github.com/pion/stun/v4"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/media/mediatest"
)

// Who answers no requests is sent nothing soon, gets media again when it answers
// again, and is cut off in the end; that requests of its own come, which can be
// forged as to their sender, does not count.
func TestConsent(t *testing.T) {
	t.Parallel()
	e := engine(t, media.Config{}, media.Deps{})
	e.Patience(900*time.Millisecond, 3*time.Second, 400*time.Millisecond)
	sender, p := publish(t, e, pubID("a", 1), mediatest.PublisherConfig{Audio: true, Video: true, Stream: 44})
	way, options := newHole(t, isResponse)
	ended := make(chan error, 1)
	r := requestFor(p)
	r.OnClose = func(err error) { ended <- err }
	c, _ := subscribeFor(t, e, mediatest.SubscriberConfig{Options: options}, r)
	sender.Start()
	both := func(n int) {
		t.Helper()
		for _, kind := range []string{media.Audio, media.Video} {
			before := c.Report(kind).Packets
			wait(t, c, kind, func(r mediatest.Report) bool { return r.Packets >= before+n })
		}
	}
	both(10)
	way.open.Store(true)
	for _, kind := range []string{media.Audio, media.Video} {
		quiet(t, c, kind)
	}
	select {
	case err := <-ended:
		t.Fatalf("the connection ended at once: %v", err)
	default:
	}
	way.open.Store(false)
	both(10)
	for _, kind := range []string{media.Audio, media.Video} {
		clean(t, c.Report(kind)) // what was not sent is no gap
	}
	way.open.Store(true)
	cutOff(t, ended)
}

// A publisher that answers nothing is not told about its packets for ever either.
func TestConsentOfPublisher(t *testing.T) {
	t.Parallel()
	e := engine(t, media.Config{}, media.Deps{})
	e.Patience(500*time.Millisecond, 1500*time.Millisecond, 100*time.Millisecond)
	way, options := newHole(t, isResponse)
	ended := make(chan error, 1)
	c, p := offer(t, e, pubID("a", 1), mediatest.PublisherConfig{Options: options, Audio: true, Stream: 45}, func(err error) { ended <- err })
	defer func() { _ = p.Close() }()
	if err := c.Connected(within(t)); err != nil {
		t.Fatal(err)
	}
	c.Start()
	way.open.Store(true)
	cutOff(t, ended)
}

func isResponse(b []byte, out bool) bool { return out && stun.IsMessage(b) && b[0] == 1 }
