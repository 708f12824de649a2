package api

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/talkd/talkd/store"
)

func TestPassesSurvive(t *testing.T) {
	f := newFixture(t)
	for _, p := range []pass{
		{kind: passTicket, issued: t0, actor: "ada"},
		{kind: passGuest, issued: t0, room: "room0000", guest: true, actor: "0123", name: "Gina ü 🎉"},
		{kind: passSession, issued: time.Unix(0, 0).UTC()},
	} {
		sealed, err := f.seal(p)
		if err != nil {
			t.Fatal(err)
		}
		got, err := f.open(p.kind, sealed, 0)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(p, got, cmp.AllowUnexported(pass{})); diff != "" {
			t.Error(diff)
		}
		for _, other := range []passKind{passGuest, passSession, passTicket} {
			if _, err := f.open(other, sealed, 0); other != p.kind && !errors.Is(err, errBadPass) {
				t.Errorf("%c taken for %c", p.kind, other)
			}
		}
	}
}

// Signaling takes session ids of 512 characters at most.
func TestLongestSessionID(t *testing.T) {
	f := newFixture(t)
	room := strings.Repeat("r", store.MaxConversationToken)
	for _, a := range []actor{
		{kind: store.ActorGuests, id: strings.Repeat("f", 32), name: strings.Repeat("🎉", maxGuestName), room: room},
		{kind: store.ActorUsers, id: strings.Repeat("a", store.MaxUserID), name: strings.Repeat("🎉", store.MaxDisplayName)},
	} {
		id, err := f.session(room, a)
		if err != nil || len(id) > maxSessionID {
			t.Errorf("%s: %d characters, %v", a.kind, len(id), err)
		}
	}
}

// FuzzDecodePass: what is opened is whole, and is written the same again.
func FuzzDecodePass(f *testing.F) {
	fix := newFixture(f)
	for _, p := range []pass{{kind: passTicket, issued: t0, actor: "ada"}, {kind: passSession, issued: t0, room: "r", guest: true, actor: "a", name: "n"}} {
		sealed, err := fix.seal(p)
		if err != nil {
			f.Fatal(err)
		}
		b, err := fix.sealing.Open(sealed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte{'s', 0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := decodePass(b)
		if err != nil {
			if !errors.Is(err, errBadPass) {
				t.Fatal(err)
			}
			return
		}
		sealed, err := fix.seal(p)
		if err != nil {
			t.Fatal(err)
		}
		again, err := fix.open(p.kind, sealed, 0)
		if err != nil || again != p {
			t.Fatalf("%+v became %+v, %v", p, again, err)
		}
	})
}
