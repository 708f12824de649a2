package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// t0 is when tests happen.
var t0 = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func open(t testing.TB, dir string) *State {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// log applies commands one after the other under rising indexes.
type log struct {
	testing.TB
	*State
	index uint64
}

func newLog(t testing.TB) *log {
	t.Helper()
	return &log{TB: t, State: open(t, t.TempDir())}
}

func (l *log) apply(c Command) (Result, []Event) {
	l.Helper()
	l.index++
	r, events, err := l.Apply(l.index, c)
	if err != nil {
		l.Fatalf("%s: %v", c, err)
	}
	for _, e := range events {
		if e.Index != l.index {
			l.Errorf("%s: event of index %d, want %d", c, e.Index, l.index)
		}
	}
	return r, events
}

// must applies a command that is not to be refused.
func (l *log) must(c Command) Result {
	l.Helper()
	r, _ := l.apply(c)
	if r.Err != nil {
		l.Fatalf("%s: %v", c, r.Err)
	}
	return r
}

// refused applies a command that is to be refused, and to change nothing.
func (l *log) refused(want error, c Command) {
	l.Helper()
	before := dump(l, l.State)
	r, events := l.apply(c)
	if !errors.Is(r.Err, want) {
		l.Errorf("%s: refused with %v, want %v", c, r.Err, want)
	}
	if back := ErrorFromCode(r.Code()); !errors.Is(back, want) {
		l.Errorf("%s: code %q becomes %v, want %v", c, r.Code(), back, want)
	}
	if len(events) != 0 {
		l.Errorf("%s: refused with events %v", c, events)
	}
	if after := dump(l, l.State); withoutIndex(after) != withoutIndex(before) {
		l.Errorf("%s: refused, but it changed the state:\n%s", c, diff(before, after))
	}
}

// dump writes the whole state, in order.
func dump(t testing.TB, s *State) string {
	t.Helper()
	var b bytes.Buffer
	b.WriteString(dumpView(t, &s.View))
	for _, table := range []string{"users", "logins", "conversations", "attendees", "sqlite_sequence"} {
		dumpTable(t, &b, s, table)
	}
	return b.String()
}

func dumpTable(t testing.TB, b *bytes.Buffer, s *State, table string) {
	t.Helper()
	rows, err := s.db.read.QueryContext(context.Background(), "SELECT * FROM "+table+" ORDER BY 1")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		values, dest := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			dest[i] = &values[i]
		}
		if err := rows.Scan(dest...); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(b, "%s %v\n", table, values)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}

// withoutIndex leaves the applied index out of a dump.
func withoutIndex(s string) string {
	_, rest, _ := strings.Cut(s, ",\n")
	return rest
}

// diff shows the first line that differs.
func diff(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return fmt.Sprintf("line %d:\n- %s\n+ %s", i+1, x[i], y[i])
		}
	}
	return fmt.Sprintf("%d lines, %d lines", len(x), len(y))
}

// noTemporaries fails if a file was left behind.
func noTemporaries(t testing.TB, s *State) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(s.db.dir, tempPattern))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func testNode(id NodeID) Node {
	return Node{
		ID: id, PublicURL: "https://" + string(id) + ".example.org", ClusterAddr: "127.0.0.1:8082", GossipAddr: "127.0.0.1:8083",
		RelayAddr: "127.0.0.1:8085", Region: "eu", Version: "0.1.0", Roles: []string{RoleServer, "media"}, Commands: CommandVersion,
		Key: HashKey([]byte(id)),
	}
}

func testIdentity() Identity {
	return Identity{ClusterID: "c-1", CACert: []byte("certificate"), SealedCAKey: []byte("sealed"), SealedGossipKey: []byte("sealed too")}
}

func testKey(kind KeyKind, id uint32) Key {
	k := Key{ID: id, Sealed: []byte{byte(id)}}
	if kind == KeyCA {
		k.Cert, k.Cross = []byte("certificate"), []byte("cross")
	}
	return k
}

func testSecret(id uint32) Secret {
	return Secret{Name: "seal", ID: id, Key: bytes.Repeat([]byte{byte(id)}, 32)}
}

func testUser(id string) User { return User{ID: id, PasswordHash: "$hash$" + id} }

func testConversation(token, owner string) Conversation {
	return Conversation{Token: token, Type: Group, Name: "Room " + token, Owner: owner}
}

func testAttendee(user string) Attendee {
	return Attendee{ActorType: ActorUsers, ActorID: user, ParticipantType: ParticipantUser}
}

func room(name string) RoomID { return RoomID{Name: name} }

func testBackend(url string) Backend {
	return Backend{URL: url, Secret: "a secret of the test", MaxSessions: 100, MaxVideoBitrate: 500_000}
}
