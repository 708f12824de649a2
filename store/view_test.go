package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
)

// dumpView writes a view, in order.
func dumpView(t testing.TB, v *View) string {
	t.Helper()
	v.mu.RLock()
	defer v.mu.RUnlock()
	mem, err := json.MarshalIndent(newImage(v.applied, v.mem), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	homes := map[RoomID]Home{}
	v.mem.homes.all(func(r RoomID, h Home) bool {
		homes[r] = h
		return true
	})
	return fmt.Sprintf("%s\n%v\n%v %d\n", mem, homes, v.mem.homes.perNode, v.mem.homes.count) // fmt sorts maps
}

// copyView exports and imports.
func copyView(t testing.TB, from, to *View) {
	t.Helper()
	var in Importer
	index, err := from.Export(func(part []byte) error { return in.Add(bytes.Clone(part)) })
	if err != nil {
		t.Fatal(err)
	}
	if err := to.Import(&in); err != nil {
		t.Fatal(err)
	}
	if index != from.Applied() || to.Applied() != index {
		t.Errorf("exported %d of %d, imported %d", index, from.Applied(), to.Applied())
	}
}

// Whoever follows knows the same as the server after every entry, and hears of
// the same events, from wherever it began.
func TestFollowersAgree(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 11))
			s := open(t, t.TempDir())
			followers := []*View{NewView()}
			for s.Applied() < 400 {
				for _, e := range script(r, 40) {
					e.Index = s.Applied() + 1
					applied, err := s.ApplyBatch([]Entry{e})
					if err != nil {
						t.Fatal(err)
					}
					for _, v := range followers {
						events, err := v.Follow(applied[0].Change)
						if err != nil {
							t.Fatal(err)
						}
						if len(events) != len(applied[0].Events) || len(events) > 0 && !reflect.DeepEqual(events, applied[0].Events) {
							t.Fatalf("events %+v, on the server %+v", events, applied[0].Events)
						}
						if again, err := v.Follow(applied[0].Change); err != nil || applied[0].Change.Command != nil && len(again) != 0 {
							t.Fatalf("the second time: %v, %v", again, err)
						}
					}
				}
				late := NewView()
				copyView(t, &s.View, late)
				followers = append(followers, late)
				for i, v := range followers {
					if got, want := dumpView(t, v), dumpView(t, &s.View); got != want {
						t.Fatalf("follower %d differs:\n%s", i, diff(got, want))
					}
				}
			}
		})
	}
}

// Nothing that is known is known less of later.
func TestViewsDoNotGoBack(t *testing.T) {
	l := newLog(t)
	l.must(NewClusterInit(t0, testIdentity(), testSecret(1)))
	l.must(NewPutNode(t0, testNode("n1")))
	behind, ahead := NewView(), NewView()
	copyView(t, &l.View, behind)
	l.must(NewPutNode(t0, testNode("n2")))
	copyView(t, &l.View, ahead)

	var in Importer
	if _, err := behind.Export(in.Add); err != nil {
		t.Fatal(err)
	}
	before := dumpView(t, ahead)
	if err := ahead.Import(&in); !errors.Is(err, ErrOutOfOrder) {
		t.Errorf("an older view: %v", err)
	}
	ahead.Advance(1)
	if got := dumpView(t, ahead); got != before {
		t.Error("it went back")
	}
	if err := ahead.Import(new(Importer)); !errors.Is(err, ErrBadSnapshot) {
		t.Errorf("an empty one: %v", err)
	}
	for _, part := range []string{"", "{", `{"moon":1}`, `[]`, `{} {}`} {
		if err := new(Importer).Add([]byte(part)); !errors.Is(err, ErrBadSnapshot) {
			t.Errorf("%q: %v", part, err)
		}
	}
}

// A change that the server made and that cannot be made here stops the node.
func TestFollowersStopWhenLost(t *testing.T) {
	encode := func(c Command) []byte {
		b, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, test := range map[string]struct {
		command []byte
		want    error
	}{
		"of a newer server":  {[]byte{formatJSON + 1}, ErrUnknownCommand},
		"malformed":          {[]byte("x"), ErrUnknownCommand},
		"about the database": {encode(NewRemoveUser(t0, "alice")), ErrInvalid},
		"something missing":  {encode(NewAssignHome(t0, RoomID{Name: "r"}, "n1", 0, ReasonNew)), ErrOutOfOrder},
	} {
		v := NewView()
		if events, err := v.Follow(Change{Index: 1, Command: test.command}); !errors.Is(err, test.want) || events != nil || v.Applied() != 0 {
			t.Errorf("%s: %v, %v", name, events, err)
		}
	}
}

func BenchmarkExportImport300kHomes(b *testing.B) {
	l := manyHomes(b)
	for b.Loop() {
		bytes := 0
		var in Importer
		if _, err := l.Export(func(p []byte) error { bytes += len(p); return in.Add(p) }); err != nil {
			b.Fatal(err)
		}
		if err := NewView().Import(&in); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(bytes), "bytes")
	}
}
