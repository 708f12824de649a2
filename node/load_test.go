package node

import "testing"

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
	r := ratesBetween(2, traffic{0, 1000, 10}, traffic{250, 2000, 30}, cpuTimes{10, 100, 5}, cpuTimes{60, 200, 25})
	if r.ingressBps != 1000 || r.egressBps != 4000 || r.egressPps != 10 || r.cpu != 0.5 || r.own != 0.2*allowed() {
		t.Errorf("%+v", r)
	}
	if r := ratesBetween(1, traffic{}, traffic{}, cpuTimes{}, cpuTimes{}); r.cpu != 0 {
		t.Errorf("no ticks: %+v", r)
	}
}
