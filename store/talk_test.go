package store

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAccounts(t *testing.T) {
	l, ctx := newLog(t), context.Background()
	if _, err := l.DB().UserByName(ctx, "alice"); !errors.Is(err, ErrNotFound) {
		t.Errorf("before: %v", err)
	}
	l.must(NewPutUser(t0, testUser("alice")))
	l.refused(ErrExists, NewCreateUser(t0, testUser("alice")))
	l.must(NewCreateUser(t0, User{ID: "bob", DisplayName: "Bob Ä. 100%", PasswordHash: "h", Admin: true}))

	want := User{ID: "alice", DisplayName: "alice", PasswordHash: "$hash$alice", Created: t0}
	got, err := l.DB().UserByName(ctx, "alice")
	if err != nil || got != want {
		t.Errorf("alice is %+v, %v", got, err)
	}
	want.DisplayName, want.PasswordHash = "Alice", "new"
	l.must(NewPutUser(t0.Add(time.Hour), User{ID: "alice", DisplayName: "Alice", PasswordHash: "new"}))
	if got, err = l.DB().UserByName(ctx, "alice"); err != nil || got != want {
		t.Errorf("alice is %+v, %v", got, err)
	}
	for search, want := range map[string][]string{"": {"alice", "bob"}, "LIC": {"alice"}, "100%": {"bob"}, "%": {"bob"}, "_": nil, "o": {"bob"}} {
		users, err := l.DB().Users(ctx, search, 10)
		var ids []string
		for _, u := range users {
			ids = append(ids, u.ID)
		}
		if err != nil || !reflect.DeepEqual(ids, want) {
			t.Errorf("search %q: %v, %v", search, ids, err)
		}
	}
	for limit, want := range map[int]int{-1: 0, 0: 0, 1: 1, 1 << 40: 2} {
		if users, err := l.DB().Users(ctx, "", limit); err != nil || len(users) != want {
			t.Errorf("limit %d: %v, %v", limit, users, err)
		}
	}
}

func TestLogins(t *testing.T) {
	l, ctx := newLog(t), context.Background()
	hash := func(i int) TokenHash { return HashToken(fmt.Sprint("token ", i)) }
	login := func(i int, user string, expires time.Time) Command {
		return NewPutLogin(t0, Login{hash(i), user, expires})
	}
	l.refused(ErrNoSuchUser, login(0, "alice", t0.Add(time.Hour)))
	l.must(NewPutUser(t0, testUser("alice")))
	l.must(NewPutUser(t0, testUser("bob")))
	l.must(login(0, "alice", t0.Add(time.Hour)))
	for _, test := range []struct {
		hash TokenHash
		now  time.Time
		want error
	}{
		{hash(0), t0, nil},
		{hash(0), t0.Add(time.Hour - time.Millisecond), nil},
		{hash(0), t0.Add(time.Hour), ErrNotFound},
		{hash(1), t0, ErrNotFound},
	} {
		u, err := l.DB().UserByLogin(ctx, test.hash, test.now)
		if !errors.Is(err, test.want) || (err == nil) != (u.ID == "alice") {
			t.Errorf("at %v: %+v, %v", test.now, u, err)
		}
	}
	// Renewed by its owner, and by nobody else.
	l.must(login(0, "alice", t0.Add(2*time.Hour)))
	if _, err := l.DB().UserByLogin(ctx, hash(0), t0.Add(time.Hour)); err != nil {
		t.Errorf("renewed: %v", err)
	}
	l.refused(ErrExists, login(0, "bob", t0.Add(9*time.Hour)))

	// The oldest ends when there are too many; another user's stay.
	l.must(login(-1, "bob", t0.Add(time.Hour)))
	for i := 1; i <= MaxLogins; i++ {
		l.must(login(i, "alice", t0.Add(time.Hour)))
	}
	for i, want := range map[int]error{0: ErrNotFound, 1: nil, MaxLogins: nil, -1: nil} {
		if _, err := l.DB().UserByLogin(ctx, hash(i), t0); !errors.Is(err, want) {
			t.Errorf("login %d: %v, want %v", i, err, want)
		}
	}
	_, events := l.apply(NewRemoveLogin(t0, hash(5)))
	if want := []Event{{Index: l.index, Kind: EventLoginsRemoved, User: "alice"}}; !reflect.DeepEqual(events, want) {
		t.Errorf("events are %+v", events)
	}
	l.refused(ErrNotFound, NewRemoveLogin(t0, hash(5)))

	// Whatever has expired goes with the next login.
	l.must(NewPutLogin(t0.Add(time.Hour), Login{hash(1000), "alice", t0.Add(3 * time.Hour)}))
	var n int
	if err := l.db.read.QueryRowContext(ctx, "SELECT count(*) FROM logins").Scan(&n); err != nil || n != 1 {
		t.Errorf("%d logins left, %v", n, err)
	}
	l.must(NewRemoveUser(t0, "alice"))
	if _, err := l.DB().UserByLogin(ctx, hash(1000), t0); !errors.Is(err, ErrNotFound) {
		t.Errorf("login of a removed user: %v", err)
	}
}

func TestConversations(t *testing.T) {
	l, ctx := newLog(t), context.Background()
	create := NewCreateConversation(t0, testConversation("abcd", "alice"), testAttendee("alice"), testAttendee("bob"))
	l.refused(ErrNoSuchUser, create) // no owner
	l.must(NewPutUser(t0, User{ID: "alice", DisplayName: "Alice", PasswordHash: "h"}))
	l.refused(ErrNoSuchUser, create) // no second attendee, so no conversation
	l.must(NewPutUser(t0, testUser("bob")))
	l.refused(ErrExists, NewCreateConversation(t0, testConversation("abcd", "alice"), testAttendee("bob"), testAttendee("bob")))

	r, events := l.apply(create)
	alice := Attendee{ID: 1, ActorType: ActorUsers, ActorID: "alice", DisplayName: "Alice", ParticipantType: ParticipantUser, Added: t0}
	bob := Attendee{ID: 2, ActorType: ActorUsers, ActorID: "bob", DisplayName: "bob", ParticipantType: ParticipantUser, Added: t0}
	if r.Err != nil || r.ID != 1 {
		t.Fatalf("created: %+v", r)
	}
	if d := cmp.Diff([]Event{
		{Index: l.index, Kind: EventConversationCreated, Room: room("abcd"), User: "alice"},
		{Index: l.index, Kind: EventAttendeeAdded, Room: room("abcd"), Attendee: alice},
		{Index: l.index, Kind: EventAttendeeAdded, Room: room("abcd"), Attendee: bob},
	}, events); d != "" {
		t.Error(d)
	}
	l.refused(ErrExists, create)
	want := Conversation{ID: 1, Token: "abcd", Type: Group, Name: "Room abcd", Owner: "alice", Created: t0, LastActivity: t0}
	if got, err := l.DB().ConversationByToken(ctx, "abcd"); err != nil || got != want {
		t.Errorf("conversation is %+v, %v", got, err)
	}
	if got, err := l.DB().Attendees(ctx, "abcd"); err != nil || !reflect.DeepEqual(got, []Attendee{alice, bob}) {
		t.Errorf("attendees are %+v, %v", got, err)
	}

	l.must(NewRenameConversation(t0.Add(time.Minute), "abcd", "Tea"))
	l.refused(ErrNotFound, NewRenameConversation(t0, "wxyz", "Tea"))
	want.Name, want.LastActivity = "Tea", t0.Add(time.Minute)
	if got, err := l.DB().ConversationByToken(ctx, "abcd"); err != nil || got != want {
		t.Errorf("renamed, it is %+v, %v", got, err)
	}

	guest := Attendee{ActorType: ActorGuests, ActorID: "f00", DisplayName: "Eve", ParticipantType: ParticipantGuest, Permissions: 255}
	added := l.must(NewAddAttendee(t0.Add(time.Second), "abcd", guest))
	guest.ID, guest.Added = added.ID, t0.Add(time.Second)
	if got, err := l.DB().Attendee(ctx, "abcd", ActorGuests, "f00"); err != nil || got != guest || added.ID == 0 {
		t.Errorf("guest is %+v, %v", got, err)
	}
	// A slow clock does not turn activity back.
	if got, _ := l.DB().ConversationByToken(ctx, "abcd"); !got.LastActivity.Equal(t0.Add(time.Minute)) {
		t.Errorf("last activity is %v", got.LastActivity)
	}
	l.refused(ErrExists, NewAddAttendee(t0, "abcd", guest))
	l.refused(ErrNotFound, NewAddAttendee(t0, "wxyz", guest))
	l.refused(ErrNoSuchUser, NewAddAttendee(t0, "abcd", testAttendee("carol")))
	l.must(NewRemoveAttendee(t0, "abcd", ActorGuests, "f00"))
	l.refused(ErrNotFound, NewRemoveAttendee(t0, "abcd", ActorGuests, "f00"))
	l.refused(ErrNotFound, NewRemoveAttendee(t0, "wxyz", ActorGuests, "f00"))
	if _, err := l.DB().Attendee(ctx, "abcd", ActorGuests, "f00"); !errors.Is(err, ErrNotFound) {
		t.Errorf("removed guest: %v", err)
	}

	l.must(NewDeleteConversation(t0, "abcd"))
	l.refused(ErrNotFound, NewDeleteConversation(t0, "abcd"))
	if got, err := l.DB().Attendees(ctx, "abcd"); err != nil || len(got) != 0 {
		t.Errorf("attendees of a deleted conversation: %v, %v", got, err)
	}
	// Ids are never given twice.
	if r := l.must(create); r.ID == 1 {
		t.Errorf("id %d came back", r.ID)
	}
}

func TestOneToOneIsOne(t *testing.T) {
	l := newLog(t)
	for _, u := range []string{"alice", "bob", "carol"} {
		l.must(NewPutUser(t0, testUser(u)))
	}
	pair := func(token, a, b string) Command {
		return NewCreateConversation(t0, Conversation{Token: token, Type: OneToOne, Owner: a}, testAttendee(a), testAttendee(b))
	}
	l.must(pair("aaaa", "alice", "bob"))
	l.refused(ErrExists, pair("bbbb", "bob", "alice"))
	l.refused(ErrExists, pair("bbbb", "alice", "bob"))
	l.must(pair("cccc", "alice", "carol"))
	l.must(pair("dddd", "bob", "carol"))
}

func TestRemoveUserTidies(t *testing.T) {
	l, ctx := newLog(t), context.Background()
	l.refused(ErrNoSuchUser, NewRemoveUser(t0, "alice"))
	l.must(NewPutUser(t0, testUser("alice")))
	l.must(NewPutUser(t0, testUser("bob")))
	l.must(NewCreateConversation(t0, testConversation("alone", "alice"), testAttendee("alice")))
	l.must(NewCreateConversation(t0.Add(time.Second), testConversation("both", "alice"), testAttendee("alice"), testAttendee("bob")))
	l.must(NewPutUser(t0, User{ID: "alice", DisplayName: "Alice II", PasswordHash: "h"}))
	if a, err := l.DB().Attendee(ctx, "both", ActorUsers, "alice"); err != nil || a.DisplayName != "Alice II" {
		t.Errorf("attendee of another name: %+v, %v", a, err)
	}
	conversations, err := l.DB().ConversationsOf(ctx, "alice")
	if err != nil || len(conversations) != 2 || conversations[0].Token != "both" || conversations[1].Token != "alone" {
		t.Errorf("conversations of alice: %+v, %v", conversations, err)
	}

	_, events := l.apply(NewRemoveUser(t0, "alice"))
	who := Attendee{ActorType: ActorUsers, ActorID: "alice"}
	if d := cmp.Diff([]Event{
		{Index: l.index, Kind: EventUserRemoved, User: "alice"},
		{Index: l.index, Kind: EventConversationDeleted, Room: room("alone"), User: "alice", Attendee: who},
		{Index: l.index, Kind: EventAttendeeRemoved, Room: room("both"), User: "alice", Attendee: who},
	}, events); d != "" {
		t.Error(d)
	}
	if _, err := l.DB().ConversationByToken(ctx, "alone"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a conversation of nobody: %v", err)
	}
	if got, err := l.DB().Attendees(ctx, "both"); err != nil || len(got) != 1 || got[0].ActorID != "bob" {
		t.Errorf("left are %+v, %v", got, err)
	}
}
