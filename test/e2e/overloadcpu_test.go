package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/talkd/talkd/api"
	"github.com/talkd/talkd/load"
	"github.com/talkd/talkd/signaling/signalingtest"
	"github.com/talkd/talkd/signaling/wire"
)

// TestSaturatedProcessor: a node has a tenth of a processor, and more and more of
// those in a room ask for a large picture, until that is too little. The newest are
// left without video, and told so; then all voice comes, and the oldest have all of
// their video. Newcomers are refused, and the admin API says why. When most have left
// all is as before.
func TestSaturatedProcessor(t *testing.T) {
	if !*labAll {
		t.Skip("a minute: make chaos")
	}
	const (
		processor = 0.1
		most      = 60 // more than any machine serves with that
		few       = 3
	)
	camera := load.Sending{Voice: load.Camera().Voice, Video: 8_000_000}
	s := saturated{t: t, clock: load.NewClock()}
	s.nc, s.cluster = startServingIn(t, within(t, processor), 1)
	s.nc.SetRoom(saturatedRoom, signalingtest.Room{})
	speaker := s.enter("speaker")
	members, seats := []*load.Client{}, []wire.RoomSessionID{}
	for i := range most {
		user := fmt.Sprintf("member-%d", i)
		members, seats = append(members, s.enter(user)), append(seats, seatOf(user))
	}
	s.nc.InCall(s.server().HTTP, saturatedRoom, callers([]wire.RoomSessionID{seatOf("speaker")}, seats)...)
	pub, err := speaker.Publish(t.Context(), 1, camera)
	if err != nil {
		t.Fatal(err)
	}

	var subs []*load.Subscription // the oldest first
	for s.overload() == nil {
		if len(subs) == most {
			t.Fatalf("%d who listen are not too many for %v of a processor", most, processor)
		}
		sub, err := members[len(subs)].Ask(t.Context(), speaker.Session(), 1, camera)
		if err != nil {
			t.Fatal(err)
		}
		subs = append(subs, sub)
		eventually(t, 30*time.Second, "voice has begun", func() (bool, string) { return sub.Audio.Begun(), fmt.Sprint(len(subs), " listen") })
		pause(t.Context(), time.Second) // for the node to see what it costs
	}
	t.Logf("%d listen", len(subs))
	oldest, newest := subs[:few], subs[len(subs)-1]
	s.awaitShed(newest, wire.ShedPaused, 30*time.Second)
	s.awaitOverload("why it is", func(o *api.Overload) bool {
		return o != nil && o.Reason == "cpu" && o.Paused > 0 && o.Paused < o.Streams
	})
	var refused *wire.Error
	if err := s.join("newcomer"); !errors.As(err, &refused) || refused.Code != wire.CodeClusterFull {
		t.Errorf("a newcomer is answered: %v", err)
	}

	from := pub.Sent()
	pause(t.Context(), 4*time.Second)
	till := pub.Sent()
	all := func(what string, stream *load.Stream, first, next uint32) {
		t.Helper()
		eventually(t, 5*time.Second, what, func() (bool, string) {
			var late load.Delays
			came := stream.Window(first, next, &late)
			return came == uint64(next-first), fmt.Sprintf("%d of %d packets", came, next-first)
		})
	}
	for i, sub := range subs {
		all(fmt.Sprintf("all voice comes to the %d.", i+1), sub.Audio, from.AudioPackets, till.AudioPackets)
	}
	for _, sub := range oldest {
		all("all video comes to the oldest", sub.Video, from.VideoPackets, till.VideoPackets)
		if sub.Shed() != "" && sub.Shed() != wire.ShedNothing {
			t.Errorf("one of the oldest was told %q", sub.Shed())
		}
	}

	for _, m := range members[few : len(subs)-1] {
		m.Close()
	}
	s.awaitShed(newest, wire.ShedNothing, 3*time.Minute)
	s.awaitOverload("that it is over", func(o *api.Overload) bool { return o == nil })
	eventually(t, 30*time.Second, "a newcomer is let in", func() (bool, string) {
		err := s.join("newcomer")
		return err == nil, fmt.Sprint(err)
	})
}

// pause lets time pass in which media flow.
func pause(ctx context.Context, d time.Duration) { _ = load.Wait(ctx, d) }
