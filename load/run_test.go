package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"github.com/talkd/talkd/signaling/wire"
)

// small is a call of one publisher and two subscribers at a node that was
// started for the test.
func small(s *sfu) Plan {
	return Plan{
		Nodes:       []Node{{Name: "n1", URL: s.http.URL}},
		Room:        "room",
		Publishers:  1,
		Subscribers: 2,
		Who: func(n int) (Credentials, wire.RoomSessionID) {
			return Credentials{URL: "http://127.0.0.1/", Params: json.RawMessage(`{}`)}, wire.RoomSessionID("seat-" + string(rune('a'+n)))
		},
		Call: func(publishers, subscribers []wire.RoomSessionID) {
			if len(publishers) != 1 || len(subscribers) != 2 {
				s.t.Errorf("in the call: %v, %v", publishers, subscribers)
			}
			s.call()
		},
	}
}

// measure runs a plan for a second.
func measure(t *testing.T, plan Plan) *Report {
	t.Helper()
	return report(t, started(t, plan))
}

// started is a run in which everybody who listens is connected.
func started(t *testing.T, plan Plan) *Run {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	run, err := Start(ctx, plan)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(run.Close)
	if got := len(run.Sessions()); got != 3 {
		t.Errorf("%d sessions", got)
	}
	return run
}

// report measures a run for a second, and ends it.
func report(t *testing.T, run *Run) *Report {
	t.Helper()
	defer run.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, err := run.Measure(ctx, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestRun: the client against plain Pion in the same process.
func TestRun(t *testing.T) {
	s := startSFU(t)
	// The forwarder has no layer that would wait for a keyframe: it begins with
	// the first, which is number 0, as subscribers are there before they bind.
	report := measure(t, small(s))
	var problems []string
	for _, p := range report.Problems() {
		if !strings.HasSuffix(p, "begins within a frame or without a keyframe") {
			problems = append(problems, p)
		}
	}
	if len(problems) > 0 {
		t.Errorf("%s", strings.Join(problems, "\n"))
	}
	if len(report.Streams) != 4 || len(report.Publishers) != 1 {
		t.Fatalf("%d streams of %d publishers", len(report.Streams), len(report.Publishers))
	}
	sent := report.Publishers[0].Sent
	if sent.VideoPackets < 80 || sent.AudioPackets < 45 || sent.Keyframes < 1 {
		t.Errorf("%+v", sent)
	}
	local, relayed := report.Paths()
	if relayed.Streams != 0 || local.Streams != 4 || local.Received == 0 || local.Received != local.Sent || local.Delays.Count() < 200 {
		t.Errorf("%d of %d packets, %d delays", local.Received, local.Sent, local.Delays.Count())
	}
	if out := report.String(); !strings.Contains(out, "n1 > n1") {
		t.Error(out)
	}
}

// TestRunSeesDamage: what a node does wrong is in the report.
func TestRunSeesDamage(t *testing.T) {
	s := startSFU(t)
	var n atomic.Int32
	var connected atomic.Bool // all who listen: what was before is not counted
	s.forward = func(kind webrtc.RTPCodecType, p *rtp.Packet) []*rtp.Packet {
		if kind == webrtc.RTPCodecTypeVideo && connected.Load() {
			switch n.Add(1) {
			case 41: // lost
				return nil
			case 45: // changed
				p.Payload[700] ^= 1
			}
		}
		return []*rtp.Packet{p}
	}
	run := started(t, small(s))
	connected.Store(true)
	report := report(t, run)
	damaged := 0
	for i := range report.Streams {
		st := &report.Streams[i]
		c := &st.Counts
		if st.Kind == Audio {
			if c.Lost+c.Changed > 0 {
				t.Errorf("audio: %+v lost, %+v changed", c.Lost, c.Changed)
			}
			continue
		}
		// The changed one counts as not received, too.
		if c.Lost != 2 || c.Gaps != 2 || c.Changed != 1 {
			t.Errorf("video: %d lost, %d gaps, %d changed", c.Lost, c.Gaps, c.Changed)
		}
		damaged++
	}
	if damaged != 2 || len(report.Problems()) < 2 {
		t.Errorf("%d damaged streams: %v", damaged, report.Problems())
	}
}

// TestRunRepairs: what the network loses, to the node or from it, comes again
// and counts as repaired. Plain Pion, which is the node here, gives up some when
// the machine is busy: one clean run of three is asked for.
func TestRunRepairs(t *testing.T) {
	var seen string
	for range 3 {
		s := startSFU(t)
		plan := small(s)
		plan.Loss = NewLoss(0.04)
		report := measure(t, plan)
		var repaired, lost, wrong uint64
		for i := range report.Streams {
			c := &report.Streams[i].Counts
			repaired += c.Repaired
			lost += c.Lost + c.Gaps
			wrong += c.Changed + c.Inconsistent
		}
		seen = fmt.Sprintf("the network lost %d; repaired %d, lost for good %d", plan.Loss.Packets(), repaired, lost)
		if wrong > 0 || plan.Loss.Packets() == 0 {
			t.Fatalf("%s, %d changed or inconsistent", seen, wrong)
		}
		if repaired > 0 && lost == 0 {
			return
		}
	}
	t.Error(seen)
}

// TestStartFails: what a node refuses comes back as the protocol's error, and
// nothing is left.
func TestStartFails(t *testing.T) {
	s := startSFU(t)
	closed := small(s)
	closed.Room = "closed"
	wrong := small(s)
	wrong.Who = func(int) (Credentials, wire.RoomSessionID) {
		return Credentials{URL: "http://127.0.0.1/", Params: json.RawMessage(`{"ticket":"wrong"}`)}, "seat"
	}
	for name, c := range map[string]struct {
		plan Plan
		want error
	}{
		"room": {closed, wire.ErrNoSuchRoom}, "ticket": {wrong, wire.ErrInvalidTicket}, "empty": {Plan{}, ErrPlan},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if _, err := Start(ctx, c.plan); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

// TestClientSeesTheEnd: a client whose node is gone says so.
func TestClientSeesTheEnd(t *testing.T) {
	s := startSFU(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := Dial(ctx, SocketURL(s.http.URL), NewClock(), Network{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Hello(ctx, Credentials{URL: "http://127.0.0.1/", Params: json.RawMessage(`{}`)}); err != nil {
		t.Fatal(err)
	}
	cut := make(chan struct{})
	go func() {
		defer close(cut)
		s.hangUp()
	}()
	if err := c.AwaitInCall(ctx, "nobody"); err == nil || ctx.Err() != nil {
		t.Errorf("waited for the call: %v", err)
	}
	<-cut
	if _, err := c.Subscribe(ctx, "nobody", 0, Camera()); err == nil {
		t.Error("subscribed without a node")
	}
}
