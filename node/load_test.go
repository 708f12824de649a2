package node

import (
	"testing"
	"time"
)

func TestParseCPU(t *testing.T) {
	for line, want := range map[string]cpuTimes{
		"cpu  10 1 5 100 20 1 2 3 9 9": {busy: 22, total: 142},
		"cpu 1 2 x":                    {},
		"":                             {},
	} {
		if got := parseCPU(line); got != want {
			t.Errorf("%q: %+v, want %+v", line, got, want)
		}
	}
}

func TestRatesBetween(t *testing.T) {
	r := ratesBetween(2, traffic{outBytes: 1000, outPackets: 10}, traffic{inBytes: 250, outBytes: 2000, outPackets: 30, lost: 5, delays: 4, delay: time.Second}, cpuTimes{10, 100, 5}, cpuTimes{60, 200, 25}, 0.5)
	if r.ingressBps != 1000 || r.egressBps != 4000 || r.egressPps != 10 || r.cpu != 0.5 || r.own != 0.2 || r.loss != 0.2 || r.delay != time.Second/4 {
		t.Errorf("%+v", r)
	}
	if r := ratesBetween(1, traffic{}, traffic{}, cpuTimes{}, cpuTimes{}, 1); r.cpu != 0 {
		t.Errorf("no ticks: %+v", r)
	}
}
