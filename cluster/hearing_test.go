package cluster

import (
	"testing"
	"time"

	"github.com/talkd/talkd/cluster/internal/clusterpb"
)

// A node that announces itself says less than one that renews its lease: what it
// said before stands while it is the same process.
func TestHearingKeepsWhatWasSaid(t *testing.T) {
	h := newHearing()
	h.reset(leafNow)
	keys := &clusterpb.KeysHeld{Gossip: 2}
	h.hear("n2", 7, report{at: leafNow, index: 40, term: 7, boot: 1, held: keys})
	h.hear("n2", 7, report{at: leafNow, boot: 1})
	if r, _ := h.report("n2"); r.index != 40 || r.term != 7 || r.held != keys {
		t.Errorf("after an announcement: %+v", r)
	}
	if lost := h.hear("n2", 7, report{at: leafNow, boot: 2, start: 39}); lost == "" {
		t.Error("a log that became shorter is not noticed")
	}
	if lost := h.hear("n2", 7, report{at: leafNow, boot: 2, start: 40}); lost != "" {
		t.Error(lost)
	}
	if r, _ := h.report("n2"); r.index != 0 || r.held != nil {
		t.Errorf("after another start: %+v", r)
	}
}

// Who told a new leader nothing may be there all the same: it counts as silent
// from when that began to lead.
func TestHearingBeginsWithTheLeadership(t *testing.T) {
	h := newHearing()
	h.hear("n2", 7, report{at: leafNow, boot: 1})
	h.reset(leafNow.Add(time.Minute))
	if s := h.silence("n2", leafNow.Add(time.Minute+time.Second)); s != time.Second {
		t.Errorf("silent for %s", s)
	}
	if _, ok := h.report("n2"); ok {
		t.Error("what it told the leader before is known")
	}
}
