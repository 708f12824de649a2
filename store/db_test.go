package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// The database holds password hashes: nobody else on the machine reads it.
func TestFilesArePrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	s := open(t, dir)
	l := &log{TB: t, State: s}
	l.must(NewPutUser(t0, testUser("alice")))
	snap, err := s.Capture()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Release()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) < 3 {
		t.Fatalf("database, WAL and its index: %v, %v", entries, err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", e.Name(), info.Mode(), err)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("folder: %v, %v", info.Mode(), err)
	}
}

// The folder's name reaches SQLite in a URL and a glob.
func TestOddFolders(t *testing.T) {
	for _, name := range []string{"with space", "100%41", "a?b=c&_pragma=foo", "[x]*", "a#b", "ä"} {
		dir := filepath.Join(t.TempDir(), name)
		s, err := Open(dir)
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		l := &log{TB: t, State: s}
		l.must(NewPutUser(t0, testUser("alice")))
		b := snapshotOf(t, s)
		if err := s.Close(); err != nil {
			t.Errorf("%q: close: %v", name, err)
		}
		stale := filepath.Join(dir, dbName+".tmp-1")
		if err := os.WriteFile(stale, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err = Open(dir); err != nil {
			t.Errorf("%q: again: %v", name, err)
			continue
		}
		if _, err := s.DB().UserByName(context.Background(), "alice"); err != nil {
			t.Errorf("%q: what was written is gone: %v", name, err)
		}
		entries, err := os.ReadDir(dir)
		if err != nil || entries[0].Name() != dbName {
			t.Errorf("%q: in the folder: %v, %v", name, entries, err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("%q: close: %v", name, err)
		}
		if _, err := os.Stat(stale); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%q: what a crash left is still there", name)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	for name, statement := range map[string]string{
		"newer schema":     "PRAGMA user_version = 99",
		"not ours":         "PRAGMA application_id = 7",
		"no applied index": "DELETE FROM meta",
		"negative index":   "UPDATE meta SET value = -1",
	} {
		dir := t.TempDir()
		s, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.db.write.ExecContext(context.Background(), statement); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, dbName), []byte("this is no database at all, whatever its name"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil {
		t.Error("a text file was opened")
	}
}

// A damaged database stops the node; it is no refusal that others would not
// share.
func TestDatabaseErrorsStop(t *testing.T) {
	l := filled(t)
	if _, err := l.db.write.ExecContext(context.Background(), "DROP TABLE attendees"); err != nil {
		t.Fatal(err)
	}
	applied := l.Applied()
	_, _, err := l.Apply(l.index+1, NewAddAttendee(t0, "abcd", Attendee{ActorType: ActorGuests, ActorID: "g", ParticipantType: ParticipantGuest}))
	if err == nil || isRefusal(err) {
		t.Errorf("got %v", err)
	}
	if l.Applied() != applied || l.db.applied > applied {
		t.Error("the entry counts as applied")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := l.Apply(l.index+1, NewRemoveUser(t0, "alice")); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if _, err := l.DB().UserByName(context.Background(), "alice"); err == nil {
		t.Error("reading after Close")
	}
	if _, err := l.Capture(); !errors.Is(err, ErrClosed) {
		t.Errorf("a snapshot after Close: %v", err)
	}
	if err := l.Restore(nil); !errors.Is(err, ErrClosed) {
		t.Errorf("a restore after Close: %v", err)
	}
}
