package api

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/talkd/talkd/store"
)

func TestCall(t *testing.T) {
	f := newFixture(t)
	ada := f.login("ada")
	room := f.conversation(ada, store.Public).Token
	call := talk + "/v4/call/" + room
	adas, gina := f.join(ada, room, "").SessionID, f.join("", room, "Gina")

	// Nobody is in the room yet.
	f.refused(404, "", "POST", call, ada, map[string]any{"flags": 7, "sessionId": adas})
	f.calls.enter(room, adas)
	f.calls.enter(room, gina.SessionID)
	f.ok("POST", call, ada, map[string]any{"flags": 7, "sessionId": adas})
	want := CallParticipant{
		InCall: 7, LastPing: t0.Unix(), SessionID: adas, ParticipantType: 1, Permissions: permModerator,
		ActorType: "users", ActorID: "ada", UserID: "ada", DisplayName: "Ada",
	}
	if diff := cmp.Diff([]CallParticipant{want}, f.calls.changed); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]CallParticipant{want}, f.calls.all); diff != "" {
		t.Error(diff)
	}

	f.ok("POST", call, gina.GuestToken, nil) // no session named, no flags
	guest := CallParticipant{
		InCall: 7, LastPing: t0.Unix(), SessionID: gina.SessionID, ParticipantType: 4, Permissions: permDefault,
		ActorType: "guests", ActorID: gina.ActorID, DisplayName: "Gina",
	}
	if diff := cmp.Diff([]CallParticipant{guest}, f.calls.changed); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]CallParticipant{want, guest}, f.calls.all); diff != "" {
		t.Error(diff)
	}
	d := into[roomData](f, f.ok("GET", rooms+"/"+room, "", nil))
	if !d.HasCall || d.CallFlag != 7 || d.CallStartTime != t0.Unix() {
		t.Errorf("%+v", d)
	}
	if list := into[[]roomData](f, f.ok("GET", rooms, ada, nil)); !list[0].HasCall {
		t.Errorf("%+v", list)
	}
	peers := into[[]peerData](f, f.ok("GET", call, gina.GuestToken, nil))
	if len(peers) != 2 || peers[0].DisplayName != "Ada" || peers[1].DisplayName != "Gina" || peers[1].SessionID != gina.SessionID || peers[0].Token != room {
		t.Errorf("%+v", peers)
	}

	f.ok("PUT", call, gina.GuestToken, map[string]any{"flags": 3})
	if f.calls.changed[0].InCall != 3 {
		t.Errorf("%+v", f.calls.changed)
	}
	f.refused(400, "flags", "PUT", call, gina.GuestToken, map[string]any{"flags": 16})
	f.refused(400, "flags", "POST", call, ada, map[string]any{"flags": "x"})

	f.refused(404, "", "DELETE", call+"?sessionId="+adas, gina.GuestToken, nil) // not hers
	f.refused(404, "", "DELETE", call+"?sessionId=invented", ada, nil)
	f.ok("DELETE", call+"?sessionId="+adas, ada, nil)
	if f.calls.changed[0].InCall != 0 || len(f.calls.all) != 1 || f.calls.all[0].SessionID != gina.SessionID {
		t.Errorf("%+v %+v", f.calls.changed, f.calls.all)
	}
	f.refused(400, "in-call", "PUT", call, ada, map[string]any{"flags": 3, "sessionId": adas})
	f.ok("DELETE", rooms+"/"+room+"/participants/active?sessionId="+gina.SessionID, gina.GuestToken, nil)
	if peers := into[[]peerData](f, f.ok("GET", call, ada, nil)); len(peers) != 0 {
		t.Errorf("%+v", peers)
	}
}

// Who names no session means the newest.
func TestNewestSession(t *testing.T) {
	f := newFixture(t)
	ada := f.login("ada")
	room := f.conversation(ada, store.Group).Token
	old := f.join(ada, room, "").SessionID
	f.clock.move(time.Minute)
	newest := f.join(ada, room, "").SessionID
	f.calls.enter(room, newest)
	f.calls.enter(room, old)
	f.ok("POST", talk+"/v4/call/"+room, ada, map[string]any{"sessionId": "0"})
	if f.calls.changed[0].SessionID != newest {
		t.Error("the older session was taken")
	}
}

func TestEndForAll(t *testing.T) {
	f := newFixture(t)
	ada := f.login("ada")
	room := f.conversation(ada, store.Public).Token
	gina := f.join("", room, "Gina").GuestToken
	f.refused(403, "permission", "DELETE", talk+"/v4/call/"+room+"?all=true", gina, nil)
	f.refused(400, "all", "DELETE", talk+"/v4/call/"+room+"?all=maybe", ada, nil)
	f.ok("DELETE", talk+"/v4/call/"+room+"?all=true", ada, nil)
	if f.calls.ended != room {
		t.Error("not ended")
	}
}

func TestCallPermissions(t *testing.T) {
	f := newFixture(t)
	ada, ben, cleo := f.login("ada"), f.login("ben"), f.login("cleo")
	c := store.Conversation{Token: "room0000", Type: store.Group, Name: "Listen", Owner: "ada", ReadOnly: true}
	seats := []store.Attendee{
		{ActorType: store.ActorUsers, ActorID: "ada", ParticipantType: store.ParticipantOwner},
		{ActorType: store.ActorUsers, ActorID: "ben", ParticipantType: store.ParticipantUser, Permissions: permCustom | permJoinCall | permPublishAudio},
		{ActorType: store.ActorUsers, ActorID: "cleo", ParticipantType: store.ParticipantUser, Permissions: permCustom},
	}
	if _, err := f.cluster.Propose(t.Context(), store.NewCreateConversation(t0, c, seats...)); err != nil {
		t.Fatal(err)
	}
	call := talk + "/v4/call/" + c.Token
	bens := f.join(ben, c.Token, "").SessionID
	f.calls.enter(c.Token, bens)
	f.refused(403, "read-only", "POST", call, ben, nil)
	f.calls.enter(c.Token, f.join(cleo, c.Token, "").SessionID)
	f.calls.enter(c.Token, f.join(ada, c.Token, "").SessionID)
	for i := range f.calls.rooms[c.Token].Sessions {
		f.calls.rooms[c.Token].Sessions[i].InCall = flagInCall
	}
	f.refused(403, "permission", "POST", call, cleo, nil)
	f.ok("PUT", call, ben, map[string]any{"flags": 7})
	if got := f.calls.changed[0].InCall; got != flagInCall|flagAudio {
		t.Errorf("flags %d: video without the permission", got)
	}
	e, err := f.AuthorizeJoin(t.Context(), c.Token, Identity{UserID: "ben"}, bens)
	if diff := cmp.Diff([]string{"publish-audio", "transient-data"}, e.Permissions); diff != "" || err != nil {
		t.Error(diff, err)
	}
}
