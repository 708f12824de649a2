package signaling

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/signaling/wire"
)

// copyOf is what an edge has of the transient data of a home before.
func copyOf(number uint64, values map[string]string) (list []*signalpb.Transient, v *signalpb.TransientVersion) {
	for key, value := range values {
		list = append(list, &signalpb.Transient{Key: key, Value: []byte(value)})
	}
	return list, &signalpb.TransientVersion{Number: number} // of epoch 0
}

func expectData(t *testing.T, what string, list []*signalpb.Transient, want map[string]string) {
	t.Helper()
	for _, e := range list {
		if string(e.GetValue()) != want[e.GetKey()] {
			t.Errorf("%s: %s is %s, want %q", what, e.GetKey(), e.GetValue(), want[e.GetKey()])
		}
	}
	if len(list) != len(want) {
		t.Errorf("%s: %d values, want %d", what, len(list), len(want))
	}
}

// TestTransientLaterCopy: an edge that comes second to a new home knows later changes
// than the first. They hold, but for what has changed at the new home meanwhile.
func TestTransientLaterCopy(t *testing.T) {
	first := newFarEdge(t)
	second := first.another("n3")
	attach := func(e *farEdge, session string, number uint64, values map[string]string) *signalpb.Snapshot {
		t.Helper()
		a := &signalpb.Attach{Own: []*signalpb.Member{{Session: session}}}
		a.Transient, a.TransientVersion = copyOf(number, values)
		return e.attach(a)
	}
	change := func(key, value string) {
		t.Helper()
		c := &backend.Transient{Action: backend.TransientSet, Key: key, Value: json.RawMessage(value)}
		if value == "" {
			c = &backend.Transient{Action: backend.TransientDelete, Key: key}
		}
		if err := first.hub.Notify(context.Background(), first.id, backend.Request{Type: backend.TypeTransient, Transient: c}); err != nil {
			t.Fatal(err)
		}
	}
	attach(first, "bob", 10, map[string]string{"same": "1", "later": "1", "deleted before": "1", "ours": "1", "deleted now": "1"})
	change("ours", "2")
	change("deleted now", "")
	s := attach(second, "eve", 12, map[string]string{"same": "1", "later": "3", "new": "3", "ours": "3", "deleted now": "3"})
	want := map[string]string{"same": "1", "later": "3", "new": "3", "ours": "2"}
	expectData(t, "the second", s.GetTransient(), want)
	if v := s.GetTransientVersion(); v.GetEpoch() != 1 || v.GetNumber() < 13 {
		t.Errorf("version %v", v)
	}
	var told []*signalpb.Transient
	for len(told) < 5 {
		told = append(told, first.expect(func(f *signalpb.Frame) bool { return f.GetTransient() != nil }).GetTransient())
	}
	expectData(t, "the first", told, map[string]string{"ours": "2", "deleted now": "", "later": "3", "new": "3", "deleted before": ""})

	// An older copy is nothing new, nor is what comes from this home.
	expectData(t, "once more", attach(second, "eve", 11, map[string]string{"later": "2"}).GetTransient(), want)
	a := &signalpb.Attach{Own: []*signalpb.Member{{Session: "eve"}}, SeqEpoch: 1, SeqLife: s.GetLife()}
	a.Transient, a.TransientVersion = s.GetTransient()[:1], s.GetTransientVersion()
	expectData(t, "with less than this home told it", second.attach(a).GetTransient(), want)

	// After a while nobody comes who knows better.
	r := first.room()
	if err := r.do(t.Context(), func() error { r.data.settle(); return nil }); err != nil {
		t.Fatal(err)
	}
	expectData(t, "too late", attach(second, "eve", 20, map[string]string{"later": "20"}).GetTransient(), want)
}

// TestTransientChangesAreBounded: a home does not note without an end what has changed.
func TestTransientChangesAreBounded(t *testing.T) {
	data := newTransients()
	for i := range int32(wire.MaxTransientKeys + 1) {
		data.change(&signalpb.Transient{Key: itoa(i)})
	}
	if data.changed != nil {
		t.Errorf("%d keys", len(data.changed))
	}
}
