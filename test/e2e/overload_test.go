package e2e

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/talkd/talkd/api"
	"github.com/talkd/talkd/load"
	"github.com/talkd/talkd/signaling/signalingtest"
	"github.com/talkd/talkd/signaling/wire"
)

// TestSaturatedNode: six listen to one, and the line of the node carries five. The
// newest is left without video, and told so; nobody loses a packet of voice, and
// nobody else anything. Newcomers are refused, the admin API and the metrics say
// why, and when two have left all is as before. How long that takes is the rule of
// the node (node/overload.go): 3 s until it is overloaded, 10 s until it is well.
func TestSaturatedNode(t *testing.T) {
	const people, leaving = 6, 2
	s := saturated{t: t, clock: load.NewClock()}
	// Video and voice of one listener are 1.06 Mbit/s.
	s.nc, s.cluster = startServing(t, 1, "--config", configured(t, "media:\n  max_egress: 5700000\n"))
	s.nc.SetRoom(saturatedRoom, signalingtest.Room{})

	speaker := s.enter("speaker")
	var listeners []*load.Client
	var seats []wire.RoomSessionID
	for i := range people {
		user := fmt.Sprintf("listener-%d", i)
		listeners, seats = append(listeners, s.enter(user)), append(seats, seatOf(user))
	}
	s.nc.InCall(s.server().HTTP, saturatedRoom, callers([]wire.RoomSessionID{seatOf("speaker")}, seats)...)
	pub, err := speaker.Publish(t.Context(), 1, load.Camera())
	if err != nil {
		t.Fatal(err)
	}
	var subs []*load.Subscription // the oldest first
	for _, l := range listeners {
		sub, err := l.Subscribe(t.Context(), speaker.Session(), 1, load.Camera())
		if err != nil {
			t.Fatal(err)
		}
		subs = append(subs, sub)
	}
	newest, others := subs[people-1], subs[:people-1]

	s.awaitShed(newest, wire.ShedPaused, 30*time.Second)
	s.awaitOverload("why it is", func(o *api.Overload) bool {
		return o != nil && o.Reason == "egress" && o.Streams == people && o.Paused == 1 && o.Lowered == 0
	})
	for metric, want := range map[string]string{"talkd_overload_ratio": "0.125", `talkd_media_shed_streams{what="paused"}`: "1"} {
		if got := s.cluster.metric(s.server(), metric); got != want {
			t.Errorf("%s is %s, want %s", metric, got, want)
		}
	}
	var refused *wire.Error
	if err := s.join("newcomer"); !errors.As(err, &refused) || refused.Code != wire.CodeClusterFull {
		t.Errorf("a newcomer is answered: %v", err)
	}

	for i := range leaving {
		s.complete("voice of who leaves", subs[i].Audio, pub.Sent().AudioPackets)
		s.complete("video of who leaves", subs[i].Video, pub.Sent().VideoPackets)
		listeners[i].Close()
	}
	paused := newest.Video.Counts(0).Received
	// Ten seconds, on a machine that others leave time to the node.
	s.awaitShed(newest, wire.ShedNothing, time.Minute)
	eventually(t, 5*time.Second, "the picture of the newest goes on", func() (bool, string) {
		n := newest.Video.Counts(0).Received
		return n > paused, fmt.Sprintf("%d packets, %d when it was paused", n, paused)
	})
	s.awaitOverload("that it is over", func(o *api.Overload) bool { return o == nil })
	eventually(t, 10*time.Second, "a newcomer is let in", func() (bool, string) {
		err := s.join("newcomer")
		return err == nil, fmt.Sprint(err)
	})

	sent := pub.CloseCount()
	s.complete("voice of the newest", newest.Audio, sent.AudioPackets)
	for _, sub := range others[leaving:] {
		s.complete("voice", sub.Audio, sent.AudioPackets)
		s.complete("video", sub.Video, sent.VideoPackets)
	}
	for _, sub := range others {
		if sub.Shed() != "" {
			t.Errorf("one who is not the newest was told %q", sub.Shed())
		}
	}
}

// saturatedRoom is where it all happens.
const saturatedRoom = "saturatedRoom"

// saturated is a node that cannot send all that is wanted.
type saturated struct {
	t       *testing.T
	nc      *signalingtest.Nextcloud
	cluster *cluster
	clock   load.Clock
}

func (s *saturated) server() node { return s.cluster.nodes[0] }

// enter brings somebody into the room until the test ends.
func (s *saturated) enter(user string) *load.Client {
	s.t.Helper()
	c, err := s.try(user)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(c.Close)
	return c
}

// join tells whether somebody would be let in.
func (s *saturated) join(user string) error {
	c, err := s.try(user)
	if err == nil {
		c.Close()
	}
	return err
}

func (s *saturated) try(user string) (*load.Client, error) {
	ctx := s.t.Context()
	c, err := load.Dial(ctx, load.SocketURL(s.server().HTTP), s.clock, load.Network{})
	if err != nil {
		return nil, err
	}
	if err = c.Hello(ctx, load.Credentials{URL: s.nc.AuthURL(), Params: s.nc.AddUser(user, user)}); err == nil {
		err = c.Join(ctx, saturatedRoom, seatOf(user))
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (s *saturated) awaitShed(sub *load.Subscription, state string, within time.Duration) {
	s.t.Helper()
	eventually(s.t, within, "the newest is told "+state, func() (bool, string) {
		return sub.Shed() == state, fmt.Sprintf("%q", sub.Shed())
	})
}

// complete waits until the first n packets of a stream are all there, from the
// first one that came.
func (s *saturated) complete(what string, stream *load.Stream, n uint32) {
	s.t.Helper()
	eventually(s.t, 5*time.Second, what+" is complete", func() (bool, string) {
		return stream.Complete(n - 1), fmt.Sprintf("%+v", stream.Counts(n-1))
	})
}

// awaitOverload waits until the admin API tells of an overload what it should:
// what a node says of itself is a moment on its way.
func (s *saturated) awaitOverload(what string, is func(*api.Overload) bool) {
	s.t.Helper()
	eventually(s.t, 5*time.Second, "the admin API tells "+what, func() (bool, string) {
		o := s.overload()
		return is(o), fmt.Sprintf("%+v", o)
	})
}

func (s *saturated) overload() *api.Overload {
	s.t.Helper()
	var view api.NodeView
	s.cluster.admin(s.server(), "/admin/v1/nodes/"+s.server().Node, &view)
	return view.Overload
}
