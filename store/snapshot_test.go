package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/iotest"
	"time"
)

// filled is a state with something of everything.
func filled(t testing.TB) *log {
	t.Helper()
	l := newLog(t)
	l.must(NewClusterInit(t0, testIdentity(), testSecret(1)))
	l.must(NewPutNode(t0, testNode("n1")))
	l.must(NewAssignHome(t0, RoomID{"cloud", "a"}, "n1", 0, ReasonNew))
	l.must(NewCreateJoinToken(t0, HashToken("t"), t0.Add(time.Hour)))
	l.must(NewUseJoinToken(t0, HashToken("t"), NewJoiner("n1", []byte("key"))))
	l.must(NewPutUser(t0, testUser("alice")))
	l.must(NewPutLogin(t0, Login{HashToken("l"), "alice", t0.Add(time.Hour)}))
	l.must(NewCreateConversation(t0, testConversation("abcd", "alice"), testAttendee("alice")))
	return l
}

func snapshotOf(t testing.TB, s *State) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := s.Snapshot(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// What is captured stays what it was while commands go on being applied, and
// the database is let go of as soon as it is copied.
func TestSnapshotIsOfOneMoment(t *testing.T) {
	l := filled(t)
	want := dump(t, l.State)
	snap, err := l.Capture()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Release()
	index := l.index
	for i := range 3000 { // enough for SQLite to want to fold its WAL in
		l.must(NewPutUser(t0, testUser(fmt.Sprint("user", i))))
	}
	l.must(NewAssignHome(t0, room("later"), "n1", 0, ReasonNew))
	l.must(NewPutSecret(t0, testSecret(2)))
	var b bytes.Buffer
	if err := snap.Persist(&b); err != nil {
		t.Fatal(err)
	}
	if snap.Index() != index {
		t.Errorf("index is %d, want %d", snap.Index(), index)
	}
	l.db.snapMu.Lock()
	if len(l.db.snapshots) != 0 {
		t.Error("the database is still held")
	}
	l.db.snapMu.Unlock()
	s := open(t, t.TempDir())
	if err := s.Restore(&b); err != nil {
		t.Fatal(err)
	}
	if got := dump(t, s); got != want {
		t.Errorf("states differ: %s", diff(want, got))
	}
	if err := snap.Persist(io.Discard); !errors.Is(err, ErrSnapshotReleased) {
		t.Errorf("persisted twice: %v", err)
	}
	noTemporaries(t, l.State)
}

// While one goroutine applies, others read, snapshot and restore: for the race
// detector, and for deadlocks.
func TestSnapshotsBesideEverything(t *testing.T) {
	l := filled(t)
	other := open(t, t.TempDir())
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if _, err := l.DB().ConversationsOf(context.Background(), "alice"); err != nil {
					t.Errorf("read: %v", err)
				}
				if _, ok := l.Home(RoomID{"cloud", "a"}); !ok {
					t.Error("the home is gone")
				}
				l.Homes()
			}
		})
	}
	wg.Go(func() {
		for ctx.Err() == nil {
			err := l.Snapshot(io.Discard)
			if err != nil && !errors.Is(err, ErrSnapshotReleased) {
				t.Errorf("snapshot: %v", err)
			}
		}
	})
	for i := range 30 {
		for range 10 {
			l.must(NewPutUser(t0, testUser(fmt.Sprint("user", i))))
		}
		b := snapshotOf(t, l.State)
		if err := other.Restore(bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
		if err := l.Restore(bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	wg.Wait()
	if a, b := dump(t, l.State), dump(t, other); a != b {
		t.Errorf("states differ: %s", diff(a, b))
	}
	noTemporaries(t, l.State)
}

// A snapshot that is never released must not hold up a restore or the end.
func TestForgottenSnapshot(t *testing.T) {
	l := filled(t)
	b := snapshotOf(t, l.State)
	snap, err := l.Capture()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Restore(bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	if err := snap.Persist(io.Discard); !errors.Is(err, ErrSnapshotReleased) {
		t.Errorf("persist after restore: %v", err)
	}
	if _, err := l.Capture(); err != nil {
		t.Fatal(err) // released by Close, see goleak in TestMain
	}
	noTemporaries(t, l.State)
}

// Each byte of a snapshot matters, and a bad one changes nothing.
func TestBadSnapshots(t *testing.T) {
	good := snapshotOf(t, filled(t).State)
	l := newLog(t)
	l.must(NewPutNode(t0, testNode("n9")))
	l.must(NewPutUser(t0, testUser("zoe")))
	want := dump(t, l.State)
	refuse := func(name string, r io.Reader, kind error) {
		t.Helper()
		if err := l.Restore(r); !errors.Is(err, kind) {
			t.Errorf("%s: %v, want %v", name, err, kind)
		}
		if got := dump(t, l.State); got != want {
			t.Fatalf("%s: the state changed: %s", name, diff(want, got))
		}
	}
	for _, n := range []int{0, 4, 9, 12, 18, 40, len(good) / 2, len(good) - 33, len(good) - 32, len(good) - 1} {
		refuse(fmt.Sprint("first bytes: ", n), bytes.NewReader(good[:n]), ErrBadSnapshot)
	}
	refuse("more bytes", bytes.NewReader(append(bytes.Clone(good), 0)), ErrBadSnapshot)
	step := len(good)/97 + 1
	for i := 0; i < len(good); i += step {
		bad := bytes.Clone(good)
		bad[i] ^= 0x10
		refuse(fmt.Sprint("byte ", i), bytes.NewReader(bad), ErrBadSnapshot)
	}
	for i := 10; i < 18; i++ { // the length of the first part
		bad := bytes.Clone(good)
		bad[i] = 0xff
		refuse(fmt.Sprint("length ", i), bytes.NewReader(bad), ErrBadSnapshot)
	}
	failed := errors.New("connection reset")
	for _, n := range []int{5, 60, len(good) / 2, len(good) - 10} {
		refuse(fmt.Sprint("reader fails after ", n), io.MultiReader(bytes.NewReader(good[:n]), iotest.ErrReader(failed)), failed)
	}
	noTemporaries(t, l.State)
	if err := l.Restore(iotest.OneByteReader(bytes.NewReader(good))); err != nil {
		t.Errorf("the good one: %v", err)
	}
	l.index = l.Applied()
	l.must(NewPutUser(t0, testUser("zoe"))) // and it goes on
}

// A snapshot whose sums are right but whose content is not ours.
func TestForgedSnapshot(t *testing.T) {
	l := filled(t)
	before := dump(t, l.State)
	file := filepath.Join(t.TempDir(), "db")
	forge := func(content string, index uint64, change func(*memory)) []byte {
		t.Helper()
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		mem := l.mem.clone()
		change(&mem)
		var b bytes.Buffer
		if err := (&Snapshot{index: index, mem: mem}).write(&b, file); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	if err := l.Snapshot(io.Discard); err != nil {
		t.Fatal(err)
	}
	snap, err := l.Capture()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Release()
	name, err := snap.copyDatabase()
	if err != nil {
		t.Fatal(err)
	}
	db, err := os.ReadFile(name)
	if err = errors.Join(err, os.Remove(name)); err != nil {
		t.Fatal(err)
	}
	same := func(*memory) {}
	for name, b := range map[string][]byte{
		"not a database":        forge("not a database, but long enough to look at", l.index, same),
		"database is ahead":     forge(string(db), 1, same),
		"epochs go backwards":   forge(string(db), l.index, func(m *memory) { m.lastEpoch = 0 }),
		"half of a database":    forge(string(db[:len(db)/2]), l.index, same),
		"nothing in a database": forge(string(db[:100])+string(make([]byte, len(db)-100)), l.index, same),
	} {
		if err := l.Restore(bytes.NewReader(b)); !errors.Is(err, ErrBadSnapshot) {
			t.Errorf("%s: %v", name, err)
		}
		if after := dump(t, l.State); after != before {
			t.Errorf("%s: the state changed: %s", name, diff(before, after))
		}
	}
	if err := l.Restore(bytes.NewReader(forge(string(db), l.index, same))); err != nil {
		t.Errorf("the honest one: %v", err)
	}
	noTemporaries(t, l.State)
}

func TestPersistTellsOfTheWriter(t *testing.T) {
	l := filled(t)
	if err := l.Snapshot(brokenWriter{}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v", err)
	}
	noTemporaries(t, l.State)
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func FuzzRestore(f *testing.F) {
	good := snapshotOf(f, filled(f).State)
	f.Add(good[:600])
	f.Add([]byte(snapshotMagic))
	f.Add([]byte(snapshotMagic + "\x00\x01\xff\xff\xff\xff\xff\xff\xff\xff{}"))
	f.Add([]byte(snapshotMagic + "\x00\x01\x00\x00\x00\x00\x00\x00\x00\x02{}\x00\x00\x00\x00\x00\x00\x00\x01x"))
	file, err := os.Create(filepath.Join(f.TempDir(), "db"))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { file.Close() })
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := file.Truncate(0); err != nil {
			t.Fatal(err)
		}
		if _, _, err := readSnapshot(bytes.NewReader(b), file); err != nil && !errors.Is(err, ErrBadSnapshot) {
			t.Fatalf("an error of no kind: %v", err)
		}
	})
}

func FuzzDecodeHomes(f *testing.F) {
	f.Add(filled(f).mem.homes.encode())
	f.Add(newHomes().encode())
	f.Add([]byte("\x01\x02n1\x01\x00\xff\xff\xff\xff\x0f"))
	same := func(n NodeID) NodeID { return n }
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := decodeHomes(bytes.NewReader(b), 100, same)
		if err != nil {
			if !errors.Is(err, ErrBadSnapshot) {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		again, err := decodeHomes(bytes.NewReader(h.encode()), 100, same)
		if err != nil || !bytes.Equal(again.encode(), h.encode()) {
			t.Fatalf("written again, it is another: %v", err)
		}
	})
}
