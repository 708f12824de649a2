package main

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
)

// What is printed, for the examples that docs/capacity.md shows.
func TestPlan(t *testing.T) {
	for name, args := range map[string]string{
		"plan_meetings": "--meetings 500 --participants 3",
		"plan_webinar":  "--participants 100 --cameras 1 --screens 1 --microphones 99",
		"plan_spread":   "--meetings 500 --spread --cost 5us --memory 16",
	} {
		t.Run(name, func(t *testing.T) {
			code, out, log := talkd(t, append([]string{"plan"}, strings.Fields(args)...)...)
			if code != exitDone || log != "" {
				t.Fatalf("%d: %s", code, log)
			}
			golden(t, name, out)
		})
	}
}

func TestPlanJSON(t *testing.T) {
	code, out, log := talkd(t, "plan", "--participants", "50", "--stream", "0.5", "--json")
	var got struct {
		Meetings int     `json:"meetings"`
		Cameras  int     `json:"cameras"`
		In       float64 `json:"in_bps"`
		Out      float64 `json:"out_bps"`
		PeerUp   float64 `json:"peer_to_peer_up_bps"`
		Need     struct {
			Nodes int `json:"nodes"`
		} `json:"need"`
	}
	if code != exitDone {
		t.Fatal(log)
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if got.Meetings != 1 || got.Cameras != 50 || math.Abs(got.In-25e6) > 1 || math.Abs(got.Out-1114.75e6) > 1 ||
		math.Abs(got.PeerUp-24.5e6) > 1 || got.Need.Nodes < 2 {
		t.Errorf("%+v", got)
	}
}

func TestPlanRefuses(t *testing.T) {
	for args, want := range map[string]struct {
		code int
		log  string
	}{
		"--participants 3 --cameras 4": {exitUsage, "more cameras"},
		"--meetings 0":                 {exitUsage, "at least one meeting"},
		"--microphones -1":             {exitUsage, "no negative number"},
		"--cpus 0":                     {exitUsage, "more than 0"},
		"--cost 0":                     {exitUsage, "more than 0"},
		"--link fast":                  {exitUsage, "a number above 0 wanted"},
		"--memory NaN":                 {exitUsage, "a number above 0 wanted"},
		"--link Inf":                   {exitUsage, "a number above 0 wanted"},
		"--voice -1":                   {exitUsage, "a number above 0 wanted"},
		"big":                          {exitUsage, `"big" is too much`},
		"--participants 50 --link 40":  {exitFailed, "more than such nodes can carry"},
	} {
		code, _, log := talkd(t, append([]string{"plan"}, strings.Fields(args)...)...)
		if code != want.code || !strings.Contains(log, want.log) {
			t.Errorf("%s: %d %q", args, code, log)
		}
	}
}
