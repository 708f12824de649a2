package signaling_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/signalingtest"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// kind is a kind of client. Each has a room of its own, in which bob is, who may do
// everything, is in the call and publishes.
type kind struct {
	name    string
	who     string   // user, guest, internal, federated, or "" without a hello
	room    string   // "": bob's; elsewhere, or outside for none
	idle    bool     // not in the call
	list    []string // permissions; nil: nothing is restricted
	session wire.RoomSessionID
}

func kindsOfClients() []kind {
	kinds := []kind{
		{name: "no hello"},
		{name: "outside", who: "user", room: "outside"},
		{name: "elsewhere", who: "user", room: "elsewhere"},
		{name: "not in the call", who: "user", idle: true},
		{name: "unrestricted", who: "user"},
		{name: "moderator", who: "user", list: []string{
			backend.PermissionPublishMedia, backend.PermissionPublishScreen, backend.PermissionControl, backend.PermissionTransientData,
		}},
		{name: "participant", who: "user", list: []string{backend.PermissionPublishMedia, backend.PermissionPublishScreen}},
		{name: "guest", who: "guest", list: []string{backend.PermissionPublishAudio}},
		{name: "internal", who: "internal"},
		{name: "internal outside", who: "internal", room: "outside"},
		{name: "federated", who: "federated", list: []string{backend.PermissionPublishMedia}},
		{name: "no permission", who: "user", list: []string{}},
	}
	for _, only := range []string{
		backend.PermissionPublishMedia, backend.PermissionPublishAudio, backend.PermissionPublishVideo, backend.PermissionPublishScreen,
		backend.PermissionControl, backend.PermissionTransientData, backend.PermissionHideNames,
	} {
		kinds = append(kinds, kind{name: "`" + only + "` only", who: "user", list: []string{only}})
	}
	for i := range kinds {
		kinds[i].session = wire.RoomSessionID(fmt.Sprintf("nc-%d", i))
	}
	return kinds
}

// saidRow is something that clients say. In its frame $own, $bob and $out stand for
// sessions: of the client, of bob, and of dora, who is in no room.
type saidRow struct {
	name, frame string
	// also are other frames of which the same comes.
	also []string
	// first makes the client publish these before, of what everybody may: nothing is sent.
	first []string
	// then is what is certainly answered after it, where media take their time: a
	// message to oneself does not wait for those.
	then string
	// fresh: it changes what the client is.
	fresh bool
	// offers: it is answered, be it late; ends: it ends the connection.
	offers, ends bool
}

const (
	sdpAudio   = `v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=sendonly\r\n`
	sdpVideo   = `v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=sendonly\r\n`
	sdpNothing = `v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=recvonly\r\n`
)

func mediaTo(to, data string) string {
	recipient := map[string]string{"room": `{"type":"room"}`, "call": `{"type":"call"}`, "user": `{"type":"user","userid":"bob"}`}[to]
	if recipient == "" {
		recipient = fmt.Sprintf(`{"type":"session","sessionid":"$%s"}`, to)
	}
	return fmt.Sprintf(`{"id":"q","type":"message","message":{"recipient":%s,"data":%s}}`, recipient, data)
}

func offering(kind, sid, sdp string) string {
	return fmt.Sprintf(`{"type":"offer","sid":%q,"roomType":%q,"payload":{"type":"offer","sdp":"%s"}}`, sid, kind, sdp)
}

func whatClientsSay() []saidRow {
	asControl := func(s string) string { return strings.ReplaceAll(s, `"message"`, `"control"`) }
	const text, mute = `{"type":"text"}`, `{"type":"control","payload":{"action":"forceMute","peerId":"$bob"}}`
	ofMedia := func(t string) string {
		return fmt.Sprintf(`{"type":%q,"sid":"s","roomType":"video","payload":{"type":"answer","sdp":"v=0","candidate":{"candidate":"","sdpMid":"0"}}}`, t)
	}
	alike := func(name, to string, types ...string) saidRow {
		row := saidRow{name: name}
		for _, t := range types {
			row.also = append(row.also, mediaTo(to, ofMedia(t)))
		}
		row.frame, row.also = row.also[0], row.also[1:]
		return row
	}
	offerAgain := func(kind string) string { return mediaTo("own", offering(kind, "again", sdpNothing)) }
	flush := mediaTo("bob", `{"type":"answer","sid":"none","roomType":"video","payload":{"type":"answer","sdp":"v=0"}}`)
	flushScreen := strings.ReplaceAll(flush, "video", "screen")
	rows := []saidRow{
		{name: "`ping`", frame: `{"id":"q","type":"ping"}`},
		{name: "`hello` again", frame: `{"id":"q","type":"hello","hello":{"version":"1.0","resumeid":"x"}}`, fresh: true},
		{name: "`bye`", frame: `{"id":"q","type":"bye"}`, fresh: true, ends: true},
		{name: "`room`: another one", frame: `{"id":"q","type":"room","room":{"roomid":"other","sessionid":"$talk"}}`, fresh: true},
		{name: "`room`: unknown", frame: `{"id":"q","type":"room","room":{"roomid":"nowhere","sessionid":"$talk"}}`, fresh: true},
		{name: "`room`: leave", frame: `{"id":"q","type":"room","room":{"roomid":""}}`, fresh: true},
		{name: "`move` done", frame: `{"id":"q","type":"move","move":{"state":"done"}}`, fresh: true},
		{name: "`message` to a session", frame: mediaTo("bob", text)},
		{name: "`message` to a session in no room", frame: mediaTo("out", text)},
		{name: "`message` to a session that nobody has", frame: mediaTo("nobody", text)},
		{name: "`message` to a user", frame: mediaTo("user", text)},
		{name: "`message` to the room", frame: mediaTo("room", text)},
		{name: "`message` to the call", frame: mediaTo("call", text)},
		{name: "`control` to a session", frame: asControl(mediaTo("bob", text))},
		{name: "`control` to a session in no room", frame: asControl(mediaTo("out", text))},
		{name: "`control` to a user", frame: asControl(mediaTo("user", text))},
		{name: "`control` to the room", frame: asControl(mediaTo("room", text))},
		{name: "`control` to the call", frame: asControl(mediaTo("call", text))},
		{name: "`message` with data `control` to a session", frame: mediaTo("bob", mute)},
		{name: "`message` with data `control` to a session in no room", frame: mediaTo("out", mute)},
		{name: "`message` with data `control` to a user", frame: mediaTo("user", mute)},
		{name: "`message` with data `control` to the room", frame: mediaTo("room", mute)},
		{name: "`message` with data `control` to the call", frame: mediaTo("call", mute)},
		{name: "`message` with data `control`, written `Control`, to the room", frame: mediaTo("room", strings.Replace(mute, `"type"`, `"Type"`, 1))},
		{name: "`message` with data `text` and, in capitals, `control`", frame: mediaTo("room", `{"type":"text","TYPE":"control","payload":{"action":"forceMute"}}`)},
		{name: "offer to oneself of audio", frame: mediaTo("own", offering("video", "s", sdpAudio)), fresh: true, offers: true},
		{name: "offer to oneself of video", frame: mediaTo("own", offering("video", "s", sdpVideo)), fresh: true, offers: true},
		{name: "offer to oneself of both", frame: mediaTo("own", offering("video", "s", sdpAudio+strings.TrimPrefix(sdpVideo, `v=0\r\n`))), fresh: true, offers: true},
		{name: "offer to oneself of nothing that is sent", frame: mediaTo("own", offering("video", "s", sdpNothing)), fresh: true, offers: true},
		{name: "offer to oneself of a screen", frame: mediaTo("own", offering("screen", "s", sdpVideo)), fresh: true, offers: true},
		{name: "offer to oneself, written `Type`", frame: mediaTo("own", strings.Replace(offering("screen", "s", sdpVideo), `"type"`, `"Type"`, 1)), fresh: true, offers: true},
		{name: "offer to oneself, without SDP", frame: mediaTo("own", `{"type":"offer","roomType":"video"}`)},
		{name: "answer to oneself", frame: mediaTo("own", ofMedia("answer"))},
		{name: "candidate to oneself, nothing published", frame: mediaTo("own", strings.Replace(ofMedia("candidate"), `"sid":"s",`, "", 1)), then: offerAgain("video"), fresh: true},
		{name: "candidate to oneself, of what is published", frame: mediaTo("own", ofMedia("candidate")), first: []string{"video"}, then: offerAgain("video"), fresh: true},
		alike("endOfCandidates, requestoffer, sendoffer or selectStream to oneself", "own", "endOfCandidates", "requestoffer", "sendoffer", "selectStream"),
		{name: "unshareScreen to oneself", frame: mediaTo("own", `{"type":"unshareScreen","sid":"s","roomType":"screen"}`), first: []string{"screen"}, then: offerAgain("screen"), fresh: true},
		{name: "offer to another", frame: mediaTo("bob", offering("video", "s", sdpAudio))},
		{name: "answer to another, nothing offered", frame: mediaTo("bob", ofMedia("answer")), then: flush},
		{name: "candidate to another, nothing offered", frame: mediaTo("bob", ofMedia("candidate")), then: flush},
		{name: "endOfCandidates to another", frame: mediaTo("bob", ofMedia("endOfCandidates"))},
		{name: "selectStream of another, nothing offered", frame: mediaTo("bob", ofMedia("selectStream")), then: flush},
		{name: "unshareScreen to another", frame: mediaTo("bob", `{"type":"unshareScreen","roomType":"screen"}`)},
		{name: "requestoffer of another's video", frame: mediaTo("bob", `{"type":"requestoffer","roomType":"video"}`), then: flush, fresh: true},
		{name: "requestoffer of another's screen", frame: mediaTo("bob", `{"type":"requestoffer","roomType":"screen"}`), then: flushScreen, fresh: true},
		{name: "requestoffer of somebody in no room", frame: strings.ReplaceAll(mediaTo("out", `{"type":"requestoffer","roomType":"video"}`), "$bob", "$out"), then: strings.ReplaceAll(flush, "$bob", "$out"), fresh: true},
		{name: "sendoffer of one's video", frame: mediaTo("bob", `{"type":"sendoffer","roomType":"video"}`), first: []string{"video"}, fresh: true},
		{name: "sendoffer of one's screen", frame: mediaTo("bob", `{"type":"sendoffer","roomType":"screen"}`), first: []string{"screen"}, fresh: true},
		{name: "sendoffer to somebody in no room", frame: mediaTo("out", `{"type":"sendoffer","roomType":"video"}`), first: []string{"video"}, fresh: true},
		{name: "unshareScreen to the room", frame: mediaTo("room", `{"type":"unshareScreen","roomType":"screen"}`)},
		{name: "`transient` set", frame: `{"id":"q","type":"transient","transient":{"type":"set","key":"k","value":1}}`, fresh: true},
		{name: "`transient` remove", frame: `{"id":"q","type":"transient","transient":{"type":"remove","key":"gone"}}`},
		{name: "`transient` set, of one's own session", frame: `{"id":"q","type":"transient","transient":{"type":"set","key":"sd:$own","value":1}}`, fresh: true},
		{name: "`transient` set, of another's session", frame: `{"id":"q","type":"transient","transient":{"type":"set","key":"sd:$bob","value":1}}`},
		{name: "`transient` set, of another's session, written `Key`", frame: `{"id":"q","type":"transient","transient":{"type":"set","key":"k","Key":"sd:$bob","value":1}}`},
		{name: "`internal` addsession", frame: `{"id":"q","type":"internal","internal":{"type":"addsession","addsession":{"sessionid":"v","roomid":"$room"}}}`, fresh: true},
		{name: "`internal` updatesession", frame: `{"id":"q","type":"internal","internal":{"type":"updatesession","updatesession":{"sessionid":"v","roomid":"$room"}}}`},
		{name: "`internal` removesession", frame: `{"id":"q","type":"internal","internal":{"type":"removesession","removesession":{"sessionid":"v","roomid":"$room"}}}`},
		{name: "`internal` incall", frame: `{"id":"q","type":"internal","internal":{"type":"incall","incall":{"incall":3}}}`, fresh: true},
		{name: "`internal` dialout", frame: `{"id":"q","type":"internal","internal":{"type":"dialout","dialout":{"type":"status","roomid":"$room","status":{"callid":"c","status":"accepted"}}}}`},
		{name: "a type that nobody knows", frame: `{"id":"q","type":"forceMute"}`},
		{name: "two types", frame: `{"id":"q","type":"ping","Type":"bye"}`},
	}
	for _, to := range []string{"room", "call", "user"} {
		rows = append(rows, alike("offer, answer, candidate, endOfCandidates, requestoffer, sendoffer or selectStream to the "+to, to,
			"offer", "answer", "candidate", "endOfCandidates", "requestoffer", "sendoffer", "selectStream"))
	}
	return rows
}

// TestRights has what comes of everything that clients may say, for each kind of them.
// docs/rights.md is the table; UPDATE=1 writes it anew.
func TestRights(t *testing.T) {
	c := newCluster(t, 1)
	people(c)
	own := signalingtest.NewNextcloud(t, secret)
	c.nextcloud.AddUser("carol", "Carol")
	c.nextcloud.AddUser("dora", "Dora")
	c.nextcloud.SetRoom("other", signalingtest.Room{})
	kinds, rows := kindsOfClients(), whatClientsSay()
	dora := c.come(c.nodes[0], "dora")
	outcomes := make([]map[string][]string, len(rows)) // by row: what came of it, for whom
	for i := range outcomes {
		outcomes[i] = make(map[string][]string)
	}
	for _, k := range kinds {
		s := newStage(c, own, k, dora)
		for i, row := range rows {
			got := s.play(row)
			for _, row.frame = range row.also {
				if other := s.play(row); other != got {
					got += " or " + other
				}
			}
			outcomes[i][got] = append(outcomes[i][got], k.name)
		}
		s.leave()
	}
	checkRights(t, rows, outcomes)
}

// rightsStage is the room of one kind of client.
type rightsStage struct {
	t         testing.TB
	c         *cluster
	own       *signalingtest.Nextcloud
	kind      kind
	room      string
	bob, dora *signalingtest.Client
	witness   *signalingtest.Client // in the room elsewhere; nil where the client is not
	client    *signalingtest.Client // shared by rows that change nothing; nil: none yet
	marks     int
}

func newStage(c *cluster, own *signalingtest.Nextcloud, k kind, dora *signalingtest.Client) *rightsStage {
	s := &rightsStage{t: c.t, c: c, own: own, kind: k, room: "of " + strings.ReplaceAll(k.name, "`", ""), dora: dora}
	room := signalingtest.Room{}
	if k.list != nil {
		room.SessionPermissions = map[wire.RoomSessionID][]string{k.session: k.list}
	}
	c.nextcloud.SetRoom(s.room, room)
	c.nextcloud.SetRoom("elsewhere", signalingtest.Room{})
	if k.room == "elsewhere" {
		s.witness = c.come(c.nodes[0], "alice")
		s.witness.Join("elsewhere", "nc-alice")
	}
	s.bob = c.come(c.nodes[0], "bob")
	s.bob.Join(s.room, "nc-bob")
	s.call()
	for _, kind := range []string{"video", "screen"} {
		s.bob.Media(s.bob.Session, wire.MediaMessage{Type: wire.MediaOffer, RoomType: kind, SID: "b", Payload: &wire.MediaPayload{Type: "offer", SDP: "v=0"}})
		s.bob.ExpectMedia(wire.MediaAnswer)
	}
	return s
}

// call lets everybody be in the call who should be.
func (s *rightsStage) call() {
	callers := []signalingtest.Caller{{Session: "nc-bob", UserID: "bob", InCall: 7}}
	if s.client != nil && s.kind.room == "" && !s.kind.idle && s.kind.who != "internal" {
		callers = append(callers, signalingtest.Caller{Session: s.kind.session, InCall: 7})
	}
	s.c.nextcloud.InCall(s.c.nodes[0].url(), s.room, callers...)
}

func (s *rightsStage) leave() {
	s.drop()
	s.bob.Bye()
	if s.witness != nil {
		s.witness.Bye()
	}
}

// drop ends the client, and waits until bob knows.
func (s *rightsStage) drop() {
	if s.client == nil {
		return
	}
	client := s.client
	s.client = nil
	if s.kind.who == "" {
		client.Cut()
		return
	}
	s.bob.Drain()
	client.Send(wire.ClientMessage{Type: wire.TypeBye}) // it may have said so already
	client.ExpectClose()
}

// come brings a client of the kind.
func (s *rightsStage) come() {
	n := s.c.nodes[0]
	switch s.kind.who {
	case "":
		s.client = signalingtest.Dial(s.t, n.url())
		s.client.Welcome()
		return
	case "user":
		s.client = s.c.come(n, "carol")
	case "guest":
		s.client = signalingtest.Dial(s.t, n.url())
		s.client.Welcome()
		s.client.Hello(s.c.nextcloud.AuthURL(), s.c.nextcloud.AddGuest("g"))
	case "internal":
		s.client = signalingtest.Dial(s.t, n.url())
		s.client.Welcome()
		s.client.HelloInternal(internalSecret, s.c.nextcloud.URL())
	case "federated":
		s.client = signalingtest.Dial(s.t, n.url())
		s.client.Welcome()
		token := federatedToken(s.c.nextcloud, s.own, "carol", "Carol", time.Now())
		answer := s.client.Ask(wire.ClientMessage{Type: wire.TypeHello, Hello: &wire.Hello{
			Version: wire.Version2, Auth: &wire.Auth{Type: wire.AuthFederation, URL: s.c.nextcloud.URL(), Params: s.c.nextcloud.TokenParams(token)},
		}})
		if answer.Hello == nil {
			s.t.Fatalf("federated: %s", wire.Encode(answer))
		}
		s.client.Session = answer.Hello.SessionID
	}
	switch s.kind.room {
	case "":
		s.client.Join(s.room, s.kind.session)
		expectJoin(s.bob, s.client.Session)
		if !s.kind.idle && s.kind.who != "internal" {
			s.call()
			s.client.ExpectEvent(wire.TargetParticipants, wire.EventUpdate)
		}
	case "elsewhere":
		s.client.Join("elsewhere", s.kind.session)
	}
}

// play says one thing, and finds out what comes of it.
func (s *rightsStage) play(row saidRow) string {
	if row.fresh {
		s.drop()
	}
	if s.client == nil {
		s.come()
	}
	for _, kind := range row.first {
		s.say(mediaTo("own", offering(kind, "s", sdpNothing)), "first")
		s.await("first", "s")
	}
	s.settle()
	s.client.Drain()
	s.bob.Drain()
	s.dora.Drain()
	s.say(row.frame, "q")
	if s.witness != nil && strings.Contains(row.frame, `"type":"transient"`) {
		// Of what the home of a room tells, nothing that settle waits for is behind.
		s.client.Say(wire.Recipient{Type: wire.ToRoom}, map[string]int{"mark": s.marks})
		s.witness.Expect("mark", s.marked)
	}
	var heard []wire.ServerMessage
	if row.then != "" {
		s.say(row.then, "then")
		heard = s.await("then", "again")
	} else if row.offers {
		heard = s.await("q", "s")
	}
	if row.ends {
		m := s.client.Expect("the end", func(m *wire.ServerMessage) bool { return m.Type == wire.TypeBye })
		heard = append(heard, m)
		s.client.ExpectClose()
		s.client = nil
	} else {
		s.settle()
		heard = append(heard, s.client.Drain()...)
	}
	got := s.outcome(row, heard)
	if row.fresh {
		s.drop()
	}
	return got
}

// say says a frame under an id.
func (s *rightsStage) say(frame, id string) {
	frame = strings.Replace(frame, `"id":"q"`, fmt.Sprintf(`"id":%q`, id), 1)
	for name, value := range map[string]string{
		"$own": string(s.client.Session), "$bob": string(s.bob.Session), "$out": string(s.dora.Session),
		"$nobody": "nobody", "$talk": string(s.kind.session), "$room": s.room,
	} {
		if value == "" {
			value = "none"
		}
		frame = strings.ReplaceAll(frame, name, value)
	}
	s.client.SendRaw([]byte(frame))
}

// await takes what comes up to the answer to an id, or the answer to an offer.
func (s *rightsStage) await(id, sid string) (heard []wire.ServerMessage) {
	for {
		m := s.client.Next()
		heard = append(heard, m)
		if m.ID == id {
			return heard
		}
		if m.Message != nil {
			if media, err := wire.DecodeMedia(m.Message.Data); err == nil && media != nil && media.Type == wire.MediaAnswer && media.SID == sid {
				return heard
			}
		}
	}
}

// settle waits until all that the client has said has come to where it goes.
func (s *rightsStage) settle() {
	s.marks++
	if s.kind.who == "" {
		s.client.Send(wire.ClientMessage{ID: fmt.Sprint("ping", s.marks), Type: wire.TypePing})
		s.client.Expect("pong", func(m *wire.ServerMessage) bool { return m.ID == fmt.Sprint("ping", s.marks) })
		return
	}
	s.client.Barrier()
	for _, other := range []*signalingtest.Client{s.bob, s.dora} {
		s.client.Say(wire.Recipient{Type: wire.ToSession, SessionID: other.Session}, map[string]int{"mark": s.marks})
		other.Expect("mark", s.marked)
	}
}

// marked tells whether a message is the last mark.
func (s *rightsStage) marked(m *wire.ServerMessage) bool {
	var data struct{ Mark int }
	return m.Message != nil && json.Unmarshal(m.Message.Data, &data) == nil && data.Mark == s.marks
}

// outcome is in words what came of a row.
func (s *rightsStage) outcome(row saidRow, heard []wire.ServerMessage) string {
	for _, m := range heard {
		switch {
		case m.ID != "q":
		case m.Type == wire.TypeError:
			return "`" + string(m.Error.Code) + "`"
		default:
			return "answered"
		}
	}
	for _, m := range heard {
		if m.Message == nil {
			continue
		}
		if media, err := wire.DecodeMedia(m.Message.Data); err == nil && media != nil && media.SID != "again" {
			return string(media.Type) + " comes"
		}
	}
	var from store.SessionID
	if s.client != nil {
		from = s.client.Session
	}
	if strings.Contains(row.frame, `"sendoffer"`) && strings.Contains(row.frame, "$bob") && s.kind.room == "" && !s.kind.idle {
		offer := s.bob.ExpectMedia(wire.MediaOffer)
		if offer.From == from {
			return "the other is offered it"
		}
	}
	for _, other := range []*signalingtest.Client{s.bob, s.dora} {
		for _, m := range other.Drain() {
			said := m.Message
			if said == nil {
				said = m.Control
			}
			switch {
			case said != nil && said.Sender.SessionID == from:
				return "delivered"
			case m.Transient != nil:
				return "told to all"
			}
		}
	}
	if slices.ContainsFunc(heard, func(m wire.ServerMessage) bool { return m.Transient != nil }) {
		return "told to all"
	}
	return "nothing"
}

// checkRights compares with the page, or writes it.
func checkRights(t *testing.T, rows []saidRow, outcomes []map[string][]string) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, rightsHead, len(rows), len(kindsOfClients()))
	for i, row := range rows {
		var names []string
		for outcome := range outcomes[i] {
			names = append(names, outcome)
		}
		// Whatever most get comes last.
		slices.SortFunc(names, func(a, b string) int {
			if d := len(outcomes[i][a]) - len(outcomes[i][b]); d != 0 {
				return d
			}
			return strings.Compare(a, b)
		})
		var cells []string
		for n, outcome := range names {
			who := strings.Join(outcomes[i][outcome], ", ")
			switch {
			case len(names) == 1:
				who = "all"
			case n == len(names)-1:
				who = "all others"
			}
			cells = append(cells, outcome+": "+who)
		}
		fmt.Fprintf(&b, "| %s | %s |\n", row.name, strings.Join(cells, " · "))
	}
	page := filepath.Join("..", "docs", "rights.md")
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(page, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	was, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, now := strings.Split(string(was), "\n"), strings.Split(b.String(), "\n")
	for i := range now {
		if i >= len(before) || before[i] != now[i] {
			t.Errorf("docs/rights.md has something else than the program; UPDATE=1 writes it anew, if that is meant:\n%s", now[i])
		}
	}
	if len(before) > len(now) {
		t.Errorf("docs/rights.md has %d lines too many", len(before)-len(now))
	}
}

const rightsHead = `# Rights

What comes of whatever a client says, by what it is and may do: %d things, %d kinds of clients. Written by
` + "`UPDATE=1 go test -run TestRights ./signaling`" + `; the test asks a node.

The clients: *no hello*: a connection only. *outside*: in no room. *elsewhere*: in another room. All others are in the room of bob, who may do everything, is in the call and
publishes a video and a screen, and are in the call themselves but the one that is named so. *unrestricted*: its Nextcloud has sent no permissions. *moderator*: with those to publish, ` + "`control` and `transient-data`" + `.
*participant*: with those to publish. *guest*: with ` + "`publish-audio`" + `. *internal*: a service that knows the secret. *federated*: somebody of another Nextcloud, with ` + "`publish-media`" + `.
"X only" has just that permission.

*delivered*: whom it is for hears it as it was said. *nothing*: nobody hears anything. A code is that of the error that the client gets.

| what is said | what comes of it |
|---|---|
`
