package signaling_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/talkd/talkd/signaling/wire"
)

// TestSilentBackend: a Nextcloud that does not answer stops nobody who is in. Who
// wants in is told at once, when it is known; when it answers again it is told
// who has left meanwhile, but not of who is back.
func TestSilentBackend(t *testing.T) {
	c, alice, bob, carol := call(t)
	dave := c.come(c.nodes[0], "alice")
	maintenance := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	c.nextcloud.Break(maintenance)
	const enough = 5
	for range enough {
		if answer := dave.AskJoin("room", "nc-dave"); answer.Error == nil || answer.Error.Code != wire.CodeRoomJoinFailed {
			t.Fatalf("answer %s", wire.Encode(answer))
		}
	}
	began := time.Now()
	if answer := dave.AskJoin("room", "nc-dave"); answer.Error == nil || answer.Error.Code != wire.CodeRoomJoinFailed {
		t.Errorf("answer %s", wire.Encode(answer))
	}
	if took := time.Since(began); took > 250*time.Millisecond {
		t.Errorf("told after %v", took)
	}
	carol.Bye()
	expectLeave(alice, carol.Session)
	expectLeave(bob, carol.Session)
	hears(t, alice, bob, "we go on")

	c.nextcloud.Break(nil)
	eventually(t, "an answer", func() bool { return dave.AskJoin("room", "nc-dave").Room != nil })
	c.nextcloud.ExpectLeave("room", "nc-carol")
}
