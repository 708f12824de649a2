package e2e

import (
	"context"
	"flag"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/talkd/talkd/api/apitest"
	"github.com/talkd/talkd/load"
	"github.com/talkd/talkd/signaling/signalingtest"
	"github.com/talkd/talkd/signaling/wire"
)

// By default these only show that the measurement works; make bench-connect has
// the flags of the real one.
var (
	connectRounds    = flag.Int("connect.rounds", 2, "TestFirstMedia: how often it is measured")
	connectListeners = flag.Int("connect.listeners", 2, "TestSubscriptionMemory: who listen")
	connectSpeakers  = flag.Int("connect.speakers", 2, "TestSubscriptionMemory: to how many each of them listens")
	connectProfiles  = flag.String("connect.profiles", "", "TestSubscriptionMemory: a directory for the node's profiles")
)

// What is wanted on loopback, on a machine that does nothing else.
const (
	firstMediaGoal  = 25 * time.Millisecond
	subscriptionKiB = 360e3 / 1024
)

// TestFirstMedia tells how long it takes from connecting to the first media, as a
// Nextcloud's client does it: a socket, hello, the room, then a peer connection of
// its own for what somebody publishes; and from a publisher's offer to the first
// packet at somebody who has asked already.
func TestFirstMedia(t *testing.T) {
	stage := newStage(t)
	speaker := stage.enter(t, "speaker")
	stage.call(t, speaker)
	pub, err := speaker.client.Publish(t.Context(), 1, load.Camera())
	if err != nil {
		t.Fatal(err)
	}
	listens := func(t *testing.T, rounds *rounds, name string) (leave func()) {
		began := stage.clock()
		p := stage.enter(t, name)
		stage.call(t, speaker, p)
		called := stage.clock()
		sub := p.hear(t, speaker, 1)
		s, voice, video := sub.Steps(), sub.Audio.Started(), sub.Video.Started()
		rounds.add(began, p.hello, p.joined, called, s.Described, s.Reached, s.Up, min(voice, video), voice, video)
		return p.client.Close
	}
	t.Run("who listens", func(t *testing.T) {
		steps := []string{"hello", "room", "call", "offer", "ICE", "DTLS", "media", "voice", "video"}
		alone, next := newRounds(steps...), newRounds(steps...)
		for n := range *connectRounds {
			stage.alone(n)
			first := listens(t, alone, fmt.Sprintf("listener-%d", n))
			second := listens(t, next, fmt.Sprintf("next-%d", n))
			first()
			second()
		}
		alone.show(t, "from connecting on", "media")
		next.show(t, "who comes next, from connecting on", "media")
	})
	if err := pub.Err(); err != nil {
		t.Fatal(err)
	}
	t.Run("who publishes", func(t *testing.T) {
		rounds := newRounds("answer", "ICE", "DTLS", "offer", "ICE there", "DTLS there", "media", "voice", "video")
		for n := range *connectRounds {
			number := uint16(n + 2)
			p, q := stage.enter(t, fmt.Sprintf("publisher-%d", n)), stage.enter(t, fmt.Sprintf("waiting-%d", n))
			stage.call(t, speaker, p, q)
			sub, err := q.client.Ask(t.Context(), p.client.Session(), number, load.Camera())
			if err != nil {
				t.Fatal(err)
			}
			pub, err := p.client.Publish(t.Context(), number, load.Camera())
			if err == nil {
				err = sub.Await(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
			s, there, voice, video := pub.Steps(), sub.Steps(), sub.Audio.Started(), sub.Video.Started()
			rounds.add(s.Asked, s.Described, s.Reached, s.Up, there.Described, there.Reached, there.Up, min(voice, video), voice, video)
			p.client.Close()
			q.client.Close()
		}
		rounds.show(t, "from the offer on", "media")
	})
}

// TestSubscriptionMemory tells by how much a node grows for each connection by
// which somebody listens to somebody, with a data channel as Nextcloud's clients
// have it. Media have flowed over each, and rest while it is measured: what they
// cost is not this.
func TestSubscriptionMemory(t *testing.T) {
	stage := newStage(t)
	var speakers, listeners []*member
	for n := range *connectSpeakers {
		speakers = append(speakers, stage.enter(t, fmt.Sprintf("speaker-%d", n)))
	}
	for n := range *connectListeners {
		listeners = append(listeners, stage.enter(t, fmt.Sprintf("listener-%d", n)))
	}
	stage.call(t, append(listeners, speakers...)...)
	pubs := make([]*load.Publisher, len(speakers))
	for i, s := range speakers {
		var err error
		if pubs[i], err = s.client.Publish(t.Context(), uint16(i), load.Camera()); err != nil {
			t.Fatal(err)
		}
	}
	first := stage.memory(t, "before")
	subs := make([][]*load.Subscription, len(listeners))
	for l, p := range listeners {
		for i, s := range speakers {
			mute(pubs, true)
			pubs[i].Mute(false)
			subs[l] = append(subs[l], p.hear(t, s, uint16(i)))
		}
	}
	mute(pubs, true)
	last := stage.memory(t, "after")
	quiet := stage.busy(t, "quiet")
	count := float64(len(speakers) * len(listeners))
	t.Logf("%.0f subscriptions that nothing flows over: %.0f us of the processor a second each", count, quiet/count*1e6)
	t.Logf("%.0f subscriptions: resident memory from %.0f to %.0f KiB: %.0f KiB each as it is, %.0f after a garbage collection; goal %.0f",
		count, first.resident, last.resident, (last.resident-first.resident)/count, (last.collected-first.collected)/count, subscriptionKiB)
	for _, of := range subs {
		for _, s := range of {
			if err := s.Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func mute(pubs []*load.Publisher, mute bool) {
	for _, p := range pubs {
		p.Mute(mute)
	}
}

// stage is a room of a Nextcloud at a node.
type stage struct {
	nextcloud *signalingtest.Nextcloud
	server    node
	clock     load.Clock
}

const stageRoom = "stage"

func newStage(t *testing.T) *stage {
	t.Helper()
	nc, c := startServing(t, 1)
	nc.SetRoom(stageRoom, signalingtest.Room{})
	return &stage{nc, c.nodes[0], load.NewClock()}
}

// alone waits until requests for keyframes are answered at once again, and then
// for another part of the time between two frames, whose schedule the rounds would
// keep to otherwise.
func (s *stage) alone(round int) {
	const quiet, frame, golden = 600 * time.Millisecond, 40 * time.Millisecond, 0.618
	_, part := math.Modf(golden * float64(round))
	<-time.After(quiet + time.Duration(part*float64(frame)))
}

// member is somebody in the room.
type member struct {
	seat          wire.RoomSessionID
	client        *load.Client
	hello, joined time.Duration // when it was said, and when the room answered
}

func (s *stage) enter(t *testing.T, user string) *member {
	t.Helper()
	who, seat := account(s.nextcloud, user)
	client, err := load.Dial(t.Context(), load.SocketURL(s.server.HTTP), s.clock, load.Network{})
	if err != nil {
		t.Fatal(err)
	}
	m := &member{seat: seat, client: client}
	t.Cleanup(m.client.Close)
	if err := m.client.Hello(t.Context(), who); err != nil {
		t.Fatal(err)
	}
	m.hello = s.clock()
	if err := m.client.Join(t.Context(), stageRoom, m.seat); err != nil {
		t.Fatal(err)
	}
	m.joined = s.clock()
	return m
}

// call lets members be in the call, with camera and microphone, and waits until
// the last of them knows.
func (s *stage) call(t *testing.T, members ...*member) {
	t.Helper()
	var seats []wire.RoomSessionID
	for _, m := range members {
		seats = append(seats, m.seat)
	}
	s.nextcloud.InCall(s.server.HTTP, stageRoom, callers(seats, nil)...)
	last := members[len(members)-1].client
	if err := last.AwaitInCall(t.Context(), last.Session()); err != nil {
		t.Fatal(err)
	}
}

func (m *member) hear(t *testing.T, from *member, number uint16) *load.Subscription {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	sub, err := m.client.Subscribe(ctx, from.client.Session(), number, load.Camera())
	if err != nil {
		t.Fatal(err)
	}
	return sub
}

// footprint is the resident memory of a node in KiB: as it is, and after garbage
// was collected and given back.
type footprint struct{ resident, collected float64 }

func (s *stage) memory(t *testing.T, when string) (f footprint) {
	t.Helper()
	f.resident = resident(t, s.server.PID)
	for _, p := range []string{"heap?gc=1", "heap?gc=1", "goroutine"} {
		s.profile(t, p, when)
	}
	f.collected = resident(t, s.server.PID)
	return f
}

// busy is the time of the processor that the node takes a second.
func (s *stage) busy(t *testing.T, when string) float64 {
	t.Helper()
	if *connectProfiles != "" {
		s.profile(t, "profile?seconds=8", when)
	}
	return costOf(s.server.PID, func() float64 { <-time.After(*costWindow); return 0 }).busy
}

// profile asks the node for one, and keeps it if a directory was named.
func (s *stage) profile(t *testing.T, what, when string) {
	t.Helper()
	b, err := apitest.Fetch(t.Context(), http.MethodGet, s.server.Admin+"/debug/pprof/"+what, s.server.Token, nil)
	if err != nil {
		t.Fatal(err)
	}
	if *connectProfiles == "" {
		return
	}
	name, _, _ := strings.Cut(what, "?")
	if err := os.WriteFile(filepath.Join(*connectProfiles, name+"-"+when), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// rounds are the times of steps, each in several rounds.
type rounds struct {
	steps []string
	took  [][]time.Duration
}

func newRounds(steps ...string) *rounds { return &rounds{steps, make([][]time.Duration, len(steps))} }

func (r *rounds) add(began time.Duration, at ...time.Duration) {
	for i, a := range at {
		r.took[i] = append(r.took[i], a-began)
	}
}

func (r *rounds) show(t *testing.T, from, goal string) {
	t.Helper()
	var b strings.Builder
	for i, step := range r.steps {
		slices.Sort(r.took[i])
		at := func(q float64) time.Duration {
			return r.took[i][int(q*float64(len(r.took[i])-1)+0.5)].Round(10 * time.Microsecond)
		}
		fmt.Fprintf(&b, "%10s  p50 %8v  p90 %8v  max %8v", step, at(0.5), at(0.9), at(1))
		if step == goal {
			fmt.Fprintf(&b, "  goal %v", firstMediaGoal)
		}
		b.WriteString("\n")
	}
	t.Logf("%s, %d rounds:\n%s", from, len(r.took[0]), &b)
}
