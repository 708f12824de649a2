package bench

import (
	"context"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/talkd/talkd/load/plan"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSizes(t *testing.T) {
	for _, tt := range []struct {
		from, target int
		want         []int
	}{
		{4, 32, []int{4, 6, 9, 13, 19, 28, 32}},
		{1, 4, []int{1, 2, 3, 4}},
		{10, 10, []int{10}},
	} {
		if got := (Scenario{From: tt.from, Target: tt.target}).sizes(); !slices.Equal(got, tt.want) {
			t.Errorf("%d to %d: %v", tt.from, tt.target, got)
		}
	}
}

// What is asked for is what the sheet's examples are, at any size.
func TestScenarios(t *testing.T) {
	for _, tt := range []struct {
		s    Scenario
		want plan.Meetings
	}{
		{Webinar(100, false, false), plan.Meetings{Count: 1, Participants: 100, Cameras: 1}},
		{Webinar(100, true, true), plan.Meetings{Count: 1, Participants: 100, Cameras: 1, Screens: 1, Microphones: 99}},
		{Team(32), plan.Meetings{Count: 1, Participants: 32, Cameras: 32}},
		{Many(500, 3), plan.Meetings{Count: 500, Participants: 3, Cameras: 3}},
	} {
		if got := tt.s.Of(tt.s.Target); got != tt.want {
			t.Errorf("%s: %+v", tt.s.Name, got)
		}
		for _, n := range tt.s.sizes() {
			if err := tt.s.Of(n).Validate(); err != nil {
				t.Errorf("%s of %d: %v", tt.s.Name, n, err)
			}
		}
	}
}

func TestWithin(t *testing.T) {
	r := plan.DefaultRates()
	for _, s := range []Scenario{Webinar(100, true, true), Team(32), Many(500, 3)} {
		for _, packets := range []float64{0, 1e3, 5e4, 1e6} {
			n := s.within(packets, r)
			if n > 0 && s.Of(n).Traffic(r).PacketsOut > packets || s.Of(n+1).Traffic(r).PacketsOut <= packets {
				t.Errorf("%s: %d within %.0f packets/s", s.Name, n, packets)
			}
		}
	}
}

func TestJudge(t *testing.T) {
	cfg := Config{MaxLoss: 0.001, MaxDelay: 20 * time.Millisecond}
	late := DelayFigures{P99: 11 * time.Millisecond}
	for name, tt := range map[string]struct {
		step Step
		want Verdict
	}{
		"all is well":                  {Step{Lost: 0.001, Worst: 0.05, Delay: DelayFigures{P99: 20 * time.Millisecond}, Late: DelayFigures{P99: 10 * time.Millisecond}}, Carried},
		"lost":                         {Step{Lost: 0.0011}, Lossy},
		"one is starved":               {Step{Lost: 0.0005, Worst: 0.06}, Lossy},
		"late":                         {Step{Delay: DelayFigures{P99: 21 * time.Millisecond}}, Late},
		"the people were late":         {Step{Late: late}, Void},
		"lost, as the people are late": {Step{Lost: 0.5, Late: late}, Void},
	} {
		cfg.judge(&tt.step)
		if tt.step.Verdict != tt.want || (tt.step.Why == "") != (tt.want == Carried) {
			t.Errorf("%s: %s, %q", name, tt.step.Verdict, tt.step.Why)
		}
	}
}

func TestReadMetrics(t *testing.T) {
	u, err := ReadMetrics(strings.NewReader(`# HELP process_cpu_seconds_total Time.
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total 1.25
process_resident_memory_bytes 7.3e+07
talkd_disk_written_bytes_total 4096
talkd_relay_bytes_total{direction="in"} 3
talkd_relay_bytes_total{direction="out"} 5
go_sched_gomaxprocs_threads 2
`))
	if want := (Usage{CPU: 1.25, Memory: 73e6, Written: 4096, Relayed: 5, Cores: 2}); err != nil || u != want {
		t.Errorf("%+v, %v", u, err)
	}
	for _, bad := range []string{"", "<html>", "process_cpu_seconds_total much\n"} {
		if _, err := ReadMetrics(strings.NewReader(bad)); !errors.Is(err, ErrMetrics) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// The payloads are what is left of the rate on the wire.
func TestPayloads(t *testing.T) {
	r := plan.DefaultRates()
	wire := float64(voicePayload(r.Voice)) + plan.VoicePackets*packetOverhead*8
	if math.Abs(wire-r.Voice) > 0.02*r.Voice {
		t.Errorf("voice: %.0f bit/s", wire)
	}
	video := float64(videoPayload(r.Screen))
	if wire := video * (1 + packetOverhead/float64(videoPacket)); math.Abs(wire-r.Screen) > 10 {
		t.Errorf("screen: %.0f bit/s", wire)
	}
	if voicePayload(1) < 8*plan.VoicePackets*minVoice || videoPayload(0) < 1 {
		t.Error("no payload at all")
	}
}

// A ticket that is about to expire is replaced.
func TestTicketsAreFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		v := &visitors{ask: func(context.Context) (Ticket, error) {
			asked++
			return Ticket{Room: "R", Ticket: strconv.Itoa(asked)}, nil
		}}
		for _, want := range []string{"1", "1", "2"} {
			who, _, err := v.door("", "").Seat(t.Context(), "")
			if err != nil || string(who.Params) != `{"ticket":"`+want+`"}` {
				t.Errorf("%s, %v, want %s", who.Params, err, want)
			}
			time.Sleep(fresh / 2)
		}
		a, _ := v.open(t.Context(), "")
		if b, err := v.open(t.Context(), ""); err != nil || a == b || !strings.HasPrefix(b, "R") {
			t.Errorf("rooms %s and %s, %v", a, b, err)
		}
	})
}

func TestFirst(t *testing.T) {
	a, b := errors.New("a"), errors.New("b")
	for _, err := range []error{a, errors.Join(a, b), errors.Join(errors.Join(a, b), b)} {
		if !errors.Is(first(err), a) || first(err).Error() != "a" {
			t.Errorf("%v", first(err))
		}
	}
}
