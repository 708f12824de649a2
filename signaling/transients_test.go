package signaling

import (
	"fmt"
	"testing"

	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// TestTransientKeys: a room has so many keys and bytes and no more; those of sessions
// count for the bytes.
func TestTransientKeys(t *testing.T) {
	var data transients
	value := func(key string, n int) *signalpb.Transient {
		return &signalpb.Transient{Key: key, Value: make([]byte, n)}
	}
	for i := range wire.MaxTransientKeys {
		data.put(value(fmt.Sprint(i), 1))
	}
	if data.fits(value("more", 1)) || !data.fits(value("0", 2)) || !data.fits(value("sd:s", 1)) {
		t.Error("keys are not bounded")
	}
	data.put(value("0", 0))
	if !data.fits(value("more", 1)) || data.value("0") != nil {
		t.Error("a removed key counts")
	}
	left := wire.MaxTransientBytes - data.bytes - len("sd:s")
	if !data.fits(value("sd:s", left)) || data.fits(value("sd:s", left+1)) {
		t.Error("bytes are not bounded")
	}
	data.put(value("sd:s", left))
	if data.put(value("sd:s", left)); data.fits(value("sd:t", 1)) {
		t.Error("what is replaced is not counted")
	}
	data.forget("s")
	if data.bytes < 0 || !data.fits(value("sd:t", left)) {
		t.Error("what went with its session counts")
	}
}

// TestTransientCopies: of two copies the one with the later change holds, and what
// belongs to sessions that are not there is left out.
func TestTransientCopies(t *testing.T) {
	ours := transients{epoch: 2, number: 5}
	for _, c := range []struct {
		epoch, number uint64
		later         bool
	}{{2, 6, true}, {3, 1, true}, {2, 5, false}, {2, 4, false}, {1, 9, false}, {0, 0, false}} {
		if got := ours.older(&signalpb.TransientVersion{Epoch: c.epoch, Number: c.number}); got != c.later {
			t.Errorf("%+v: later %v", c, got)
		}
	}
	list := []*signalpb.Transient{{Key: "k", Value: []byte("1")}, {Key: "sd:here", Value: []byte("2")}, {Key: "sd:gone", Value: []byte("3")}}
	ours.takeFrom(list, &signalpb.TransientVersion{Epoch: 3, Number: 1}, map[store.SessionID]*signalpb.Member{"here": {}})
	if len(ours.entries) != 2 || ours.epoch != 3 || ours.value("sd:gone") != nil {
		t.Errorf("took %v", ours.entries)
	}
	if ours.clear(4); len(ours.entries) != 0 || !(&transients{epoch: 3, number: 1}).older(&signalpb.TransientVersion{Epoch: ours.epoch, Number: ours.number}) {
		t.Errorf("cleared at %d, %d", ours.epoch, ours.number)
	}
}

// TestSameJSON: only how a value is written makes no other one of it.
func TestSameJSON(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{`{"a":1,"b":[2]}`, `{ "b": [2], "a": 1 }`, true},
		{`1`, `2`, false},
		{`9007199254740992`, `9007199254740993`, false},
		{``, `null`, false},
	} {
		if got := sameJSON([]byte(c.a), []byte(c.b)); got != c.same {
			t.Errorf("%s and %s: %v", c.a, c.b, got)
		}
	}
}
