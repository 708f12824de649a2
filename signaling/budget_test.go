package signaling_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/talkd/talkd/signaling"
	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/signalingtest"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// What somebody who joins a call of others may be told until it has an offer of each of
// them, and they of it. Descriptions of media count with the few bytes that they have in
// these tests.
const (
	inTheCall      = 54
	newcomerHears  = 70
	newcomerWeighs = 64 << 10
)

// party is a call whose backend is a Nextcloud, or the embedded one.
type party struct {
	*cluster
	embedded bool
	users    []string
	sessions map[store.SessionID]bool
}

func newParty(t *testing.T, nodes int, embedded bool) *party {
	c := newCluster(t, nodes, func(_ *signaling.Config, d *signaling.Deps) {
		if embedded {
			d.Embedded = newEmbedded()
		}
	})
	people(c)
	c.pin("room", c.nodes[0])
	return &party{cluster: c, embedded: embedded, sessions: make(map[store.SessionID]bool)}
}

// come connects one more to one node after the other, and says hello.
func (p *party) come(dial func(testing.TB, string) *signalingtest.Client) *signalingtest.Client {
	n, user := p.nodes[len(p.users)%len(p.nodes)], fmt.Sprint("user", len(p.users))
	client := dial(p.t, n.url())
	client.Welcome()
	if p.embedded {
		client.Hello(n.url()+signalingtest.Endpoint, json.RawMessage(fmt.Sprintf(`{"UserID":%q}`, user)))
	} else {
		client.Hello(p.nextcloud.AuthURL(), p.nextcloud.AddUser(user, "Somebody called "+user))
	}
	p.users, p.sessions[client.Session] = append(p.users, user), true
	return client
}

// enter lets who came last into the room, to publish there.
func (p *party) enter(client *signalingtest.Client) {
	client.Join("room", roomSession(p.users[len(p.users)-1]))
	client.Media(client.Session, offer("video", "1"))
	client.ExpectMedia(wire.MediaAnswer)
}

// inCall tells the room that some have joined the call, as backends do: with all who
// are in it.
func (p *party) inCall(changed []string) {
	room := store.RoomID{Name: "room"}
	if !p.embedded {
		room = p.room("room")
	}
	request := backend.Request{Type: backend.TypeInCall, InCall: &backend.InCall{InCall: 7, Changed: p.entries(changed), Users: p.entries(p.users)}}
	if err := p.nodes[0].hub.Notify(p.t.Context(), room, request); err != nil {
		p.t.Fatal(err)
	}
}

func (p *party) entries(users []string) (list []backend.Participant) {
	for _, user := range users {
		raw := fmt.Sprintf(`{"sessionId":%q,"userId":%q,"inCall":7,"participantType":3,"lastPing":1700000000,"participantPermissions":254,"actorType":"users","actorId":%q}`,
			roomSession(user), user, user)
		var entry backend.Participant
		if err := json.Unmarshal([]byte(raw), &entry); err != nil {
			p.t.Fatal(err)
		}
		list = append(list, entry)
	}
	return list
}

// join lets a client join the call and ask for all whom it hears of, and says what it
// was told for that.
func (p *party) join(client *signalingtest.Client) signalingtest.Heard {
	before := client.Heard()
	p.enter(client)
	p.inCall(p.users[len(p.users)-1:])
	asked := make(map[store.SessionID]bool)
	for len(asked) < len(p.sessions)-1 {
		for _, u := range client.ExpectEvent(wire.TargetParticipants, wire.EventUpdate).Update.Users {
			var id store.SessionID
			if err := json.Unmarshal(u["sessionId"], &id); err != nil {
				p.t.Fatal(err)
			}
			if id != client.Session && !asked[id] {
				asked[id] = true
				client.Media(id, requestOffer("video"))
			}
		}
	}
	for range asked {
		from := client.ExpectMedia(wire.MediaOffer).From
		if !asked[from] || !p.sessions[from] {
			p.t.Errorf("not asked for: %s", from)
		}
		delete(asked, from)
	}
	client.Barrier()
	after := client.Heard()
	return signalingtest.Heard{Messages: after.Messages - before.Messages, Bytes: after.Bytes - before.Bytes}
}

// TestJoinIsCheap: who joins a large call hears what there is once, and one offer of each,
// whether it takes lists for complete or not.
func TestJoinIsCheap(t *testing.T) {
	for name, embedded := range map[string]bool{"nextcloud": false, "embedded": true} {
		for _, nodes := range []int{1, 3} {
			t.Run(fmt.Sprintf("%s/%d", name, nodes), func(t *testing.T) {
				p := newParty(t, nodes, embedded)
				for range inTheCall {
					p.enter(p.come(signalingtest.DialPage))
				}
				p.inCall(p.users)
				for who, dial := range map[string]func(testing.TB, string) *signalingtest.Client{"a page": signalingtest.DialPage, "an app": signalingtest.Dial} {
					got := p.join(p.come(dial))
					if got.Messages > newcomerHears || got.Bytes > newcomerWeighs {
						t.Errorf("%s hears %d messages of %d bytes", who, got.Messages, got.Bytes)
					}
				}
			})
		}
	}
}
