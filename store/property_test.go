package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// script is a random sequence of commands over few names, so that they meet:
// many are refused, and what is refused depends on all that went before.
func script(r *rand.Rand, n int) []Entry {
	pick := func(names ...string) string { return names[r.IntN(len(names))] }
	node := func() NodeID { return NodeID(pick("n1", "n2", "n3")) }
	user := func() string { return pick("alice", "bob", "carol", "dave") }
	token := func() string { return pick("aaaa", "bbbb", "cccc") }
	hash := func() TokenHash { return HashToken(fmt.Sprint(r.IntN(5))) }
	anyRoom := func() RoomID { return RoomID{BackendID(pick("", "cloud")), pick("r1", "r2", "r3")} }
	attendee := func() Attendee {
		if r.IntN(3) == 0 {
			return Attendee{ActorType: ActorGuests, ActorID: pick("g1", "g2"), ParticipantType: ParticipantGuest}
		}
		return testAttendee(user())
	}
	now := t0
	var lastEpoch uint64
	command := func() Command {
		at := now.Add(time.Duration(r.IntN(4000)-2000) * time.Millisecond) // clocks differ
		switch r.IntN(31) {
		case 0:
			return NewClusterInit(at, testIdentity(), testSecret(r.Uint32N(3)))
		case 1, 2:
			return NewPutNode(at, testNode(node()))
		case 3:
			return NewRemoveNode(at, node())
		case 4, 5, 6:
			lastEpoch++
			return NewAssignHome(at, anyRoom(), node(), r.Uint64N(lastEpoch)*r.Uint64N(2), ReasonMove)
		case 7:
			return NewReleaseRoom(at, anyRoom(), r.Uint64N(lastEpoch+1))
		case 8:
			return NewPutSecret(at, testSecret(r.Uint32N(5)))
		case 9:
			return NewRemoveSecret(at, "seal", r.Uint32N(5))
		case 10:
			return NewCreateJoinToken(at, hash(), at.Add(time.Duration(r.IntN(20))*time.Second))
		case 11, 24:
			return NewUseJoinToken(at, hash(), NewJoiner(node(), []byte(pick("k", "l"))))
		case 12:
			return NewPutUser(at, User{ID: user(), DisplayName: pick("", "X", "Y"), PasswordHash: pick("h", "i"), Admin: r.IntN(2) == 0})
		case 13:
			return NewCreateUser(at, testUser(user()))
		case 14:
			return NewRemoveUser(at, user())
		case 15:
			return NewPutLogin(at, Login{hash(), user(), at.Add(time.Duration(r.IntN(20)) * time.Second)})
		case 16:
			return NewRemoveLogin(at, hash())
		case 17:
			return NewCreateConversation(at, testConversation(token(), user()), attendee())
		case 18:
			return NewCreateConversation(at, Conversation{Token: token(), Type: OneToOne, Owner: user()}, testAttendee("alice"), testAttendee(pick("bob", "carol")))
		case 19:
			return NewRenameConversation(at, token(), pick("x", "y"))
		case 20:
			return NewAddAttendee(at, token(), attendee())
		case 21, 22:
			return NewSetDrain(at, node(), r.IntN(2) == 0, pick("", "update"))
		case 23:
			homes := make([]Assignment, 1+r.IntN(3))
			for i := range homes {
				lastEpoch++
				homes[i] = Assignment{anyRoom(), node(), r.Uint64N(lastEpoch) * r.Uint64N(2), ReasonDrain}
			}
			return NewAssignHomes(at, homes)
		case 26:
			kind := KeyKinds()[r.IntN(2)]
			return NewPutKey(at, kind, testKey(kind, 1+r.Uint32N(4)))
		case 27:
			return NewUseKey(at, KeyKinds()[r.IntN(2)], 1+r.Uint32N(4))
		case 28:
			return NewDropKey(at, KeyKinds()[r.IntN(2)], 1+r.Uint32N(4))
		case 29:
			return NewPutBackend(at, testBackend(pick("https://a.example", "https://b.example")))
		case 30:
			return NewRemoveBackend(at, pick("https://a.example", "https://b.example"))
		default:
			if r.IntN(4) == 0 {
				return NewDeleteConversation(at, token())
			}
			return NewRemoveAttendee(at, token(), ActorUsers, user())
		}
	}
	entries := make([]Entry, n)
	index := uint64(0)
	for i := range entries {
		index += 1 + r.Uint64N(3) // entries of Raft's own lie between
		now = now.Add(time.Second)
		b, err := command().Encode()
		if err != nil {
			panic(err)
		}
		if r.IntN(50) == 0 {
			b = b[:len(b)/2]
		}
		entries[i] = Entry{Index: index, Data: b}
	}
	return entries
}

// run applies entries in batches of random size.
func run(t *testing.T, s *State, r *rand.Rand, entries []Entry) []Applied {
	t.Helper()
	var all []Applied
	for len(entries) > 0 {
		n := min(1+r.IntN(8), len(entries))
		applied, err := s.ApplyBatch(entries[:n])
		if err != nil {
			t.Fatal(err)
		}
		all, entries = append(all, applied...), entries[n:]
	}
	return all
}

// text makes results comparable: errors by code, as they travel.
func text(applied []Applied) []string {
	lines := make([]string, len(applied))
	for i, a := range applied {
		lines[i] = fmt.Sprintf("%d %s %+v %+v %d %+v", a.Index, a.Result.Code(), a.Result.Home, a.Result.Homes, a.Result.ID, a.Events)
	}
	return lines
}

func seeds(t *testing.T, f func(t *testing.T, r *rand.Rand, entries []Entry)) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 0))
			f(t, r, script(r, 400))
		})
	}
}

// The scripts are worth nothing if commands of an op are all refused, or none.
func TestScriptsMeetTheState(t *testing.T) {
	accepted, refused := map[string]int{}, map[string]int{}
	codes := map[string]bool{}
	seeds(t, func(t *testing.T, r *rand.Rand, entries []Entry) {
		for i, a := range run(t, open(t, t.TempDir()), r, entries) {
			c, err := DecodeCommand(entries[i].Data)
			if err != nil {
				continue
			}
			if codes[a.Result.Code()] = true; a.Result.Err == nil {
				accepted[c.Op]++
			} else {
				refused[c.Op]++
			}
		}
	})
	for _, c := range oneOfEach() {
		if accepted[c.Op] == 0 || refused[c.Op] == 0 && c.Op != OpPutNode && c.Op != OpPutUser && c.Op != OpPutBackend && c.Op != OpAssignHomes {
			t.Errorf("%s: %d accepted, %d refused", c.Op, accepted[c.Op], refused[c.Op])
		}
	}
	for _, err := range []error{ErrExists, ErrNotFound, ErrNoSuchNode, ErrNoSuchUser, ErrStaleEpoch, ErrTokenUsed, ErrTokenExpired, ErrMalformed} {
		if !codes[errorCode(err)] && !errors.Is(err, ErrMalformed) {
			t.Errorf("no command was refused with %v", err)
		}
	}
}

// However the log is cut into batches, and wherever a snapshot carries the
// state to another node, the state and all results are the same.
func TestSnapshotAnywhere(t *testing.T) {
	seeds(t, func(t *testing.T, r *rand.Rand, entries []Entry) {
		whole := open(t, t.TempDir())
		want := run(t, whole, r, entries)

		cut := r.IntN(len(entries) + 1)
		first := open(t, t.TempDir())
		got := run(t, first, r, entries[:cut])
		var snap bytes.Buffer
		if err := first.Snapshot(&snap); err != nil {
			t.Fatal(err)
		}
		second := open(t, t.TempDir())
		run(t, second, r, script(r, 20)) // what it had before must be gone
		if err := second.Restore(&snap); err != nil {
			t.Fatal(err)
		}
		if a, b := dump(t, first), dump(t, second); a != b {
			t.Fatalf("cut at %d: restored, the state differs: %s", cut, diff(a, b))
		}
		got = append(got, run(t, second, r, entries[cut:])...)

		if a, b := text(want), text(got); !reflect.DeepEqual(a, b) {
			t.Errorf("cut at %d: results differ: %s", cut, diff(strings.Join(a, "\n"), strings.Join(b, "\n")))
		}
		if a, b := dump(t, whole), dump(t, second); a != b {
			t.Errorf("cut at %d: states differ: %s", cut, diff(a, b))
		}
		noTemporaries(t, first)
		noTemporaries(t, second)
	})
}

// A node dies after SQLite committed and before anybody heard of it, and again
// with a batch half written. The log is applied from its beginning.
func TestReplayAfterCrash(t *testing.T) {
	seeds(t, func(t *testing.T, r *rand.Rand, entries []Entry) {
		whole := open(t, t.TempDir())
		want := text(run(t, whole, r, entries))

		died := open(t, t.TempDir())
		cut := r.IntN(len(entries))
		run(t, died, r, entries[:cut])
		// A batch whose commit never came.
		died.applying.Lock()
		tx := died.db.transaction(t.Context())
		if _, _, err := tx.apply(entries[cut].Index+1, &putUser{User: testUser("mallory")}, t0); err != nil {
			t.Fatal(err)
		}
		dir := copyDir(t, died.db.dir)
		tx.rollback()
		died.applying.Unlock()

		again := open(t, dir)
		inDatabase := again.db.applied
		got := run(t, again, r, entries)
		if a, b := dump(t, whole), dump(t, again); a != b {
			t.Errorf("cut at %d: states differ: %s", cut, diff(a, b))
		}
		for i, g := range text(got) {
			c, err := DecodeCommand(entries[i].Data)
			if err == nil && entries[i].Index <= inDatabase && !inMemory(c) {
				if r := got[i].Result; r.Err != nil || r.ID != 0 || got[i].Events != nil {
					t.Errorf("%s at %d was applied twice: %+v", c, entries[i].Index, got[i])
				}
				continue
			}
			if g != want[i] {
				t.Errorf("entry %d: %s, want %s", entries[i].Index, g, want[i])
			}
		}
	})
}

func inMemory(c Command) bool {
	body, _ := newOperation(c.Op)
	_, ok := body.(memoryOperation)
	return ok
}

// copyDir is what a machine finds on its disk after a crash.
func copyDir(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, "-shm") {
			return err // the index of the WAL is memory, and dies with it
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, filepath.Base(path)), b, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	return to
}
