package mcu

import (
	"fmt"
	"testing"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/signaling/wire"
)

func pubID(generation uint32) media.PubID {
	return media.PubID{Session: "alice", Kind: media.KindVideo, Generation: generation}
}

func news(generation uint32) request {
	return request{what: announced, pub: media.Publication{ID: pubID(generation)}}
}

func over(generation uint32) request { return request{what: withdrawn, id: pubID(generation)} }

// What stands in a box after requests were added to it.
func TestBox(t *testing.T) {
	client := func(w what, sid string) request { return request{what: w, m: &wire.MediaMessage{SID: sid}} }
	for name, c := range map[string]struct {
		add      []request
		want     string
		replaced int
	}{
		"news are merged in place":              {[]request{news(2), over(1), news(4), news(3)}, "announced4 withdrawn1", 0},
		"the last end counts, at its place":     {[]request{over(1), news(2), over(2), over(1)}, "announced2 withdrawn2 withdrawn1", 0},
		"ends are merged":                       {[]request{over(1), over(2), over(3)}, "withdrawn3", 0},
		"the newest offer":                      {[]request{client(offer, "1"), client(candidate, "1"), client(offer, "2")}, "candidate1 offer2", 1},
		"the newest answer":                     {[]request{client(answer, "1"), client(answer, "2")}, "answer2", 1},
		"the newest request":                    {[]request{client(ask, ""), {what: ask}}, "ask", 1},
		"a request to update replaces nothing":  {[]request{client(ask, ""), client(ask, "1")}, "ask ask1", 0},
		"and gives way to one to start anew":    {[]request{client(ask, "1"), client(ask, "")}, "ask", 1},
		"our own request gives way":             {[]request{client(ask, ""), {what: ask, again: true}}, "ask", 0},
		"unless there is none":                  {[]request{client(ask, "1"), {what: ask, again: true}}, "ask", 1},
		"the end takes the place of everything": {[]request{client(offer, "1"), news(1), {what: end}, over(2)}, "end withdrawn2", 2},
		"the client's requests are bounded":     {[]request{client(candidate, "1"), client(choose, "2"), client(candidate, "3"), client(candidate, "4"), client(candidate, "5")}, "candidate1 choose2 candidate3 candidate4", 0},
		"ours are not in their way":             {[]request{client(candidate, "1"), client(candidate, "2"), client(candidate, "3"), client(candidate, "4"), news(1), over(0), {what: failed}, {what: expired}}, "candidate1 candidate2 candidate3 candidate4 announced1 withdrawn0 failed expired", 0},
	} {
		t.Run(name, func(t *testing.T) {
			var b box
			replaced := 0
			for _, r := range c.add {
				old, _ := b.addLocked(r, 4)
				replaced += len(old)
			}
			if got := show(b.queue); got != c.want || replaced != c.replaced {
				t.Errorf("got %q and %d replaced, want %q and %d", got, replaced, c.want, c.replaced)
			}
		})
	}
}

func show(queue []request) string {
	names := map[what]string{
		offer: "offer", ask: "ask", answer: "answer", candidate: "candidate", choose: "choose", local: "local",
		failed: "failed", expired: "expired", announced: "announced", withdrawn: "withdrawn", end: "end",
	}
	text := ""
	for i, r := range queue {
		if i > 0 {
			text += " "
		}
		text += names[r.what]
		switch {
		case r.what == announced:
			text += fmt.Sprint(r.pub.ID.Generation)
		case r.what == withdrawn:
			text += fmt.Sprint(r.id.Generation)
		case r.m != nil:
			text += r.m.SID
		}
	}
	return text
}
