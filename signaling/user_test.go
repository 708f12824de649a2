package signaling_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/talkd/talkd/signaling"
	"github.com/talkd/talkd/signaling/signalingtest"
	"github.com/talkd/talkd/signaling/wire"
)

// TestUsersEverywhere: what is said to a user comes once to each session of the user,
// wherever they are, without a word to all nodes; a node that dies changes nothing
// of that.
func TestUsersEverywhere(t *testing.T) {
	c := newCluster(t, 4)
	people(c)
	for i := range 8 { // whoever the nodes are that know where they are
		name := fmt.Sprint("user", i)
		c.nextcloud.AddUser(name, name)
	}
	alice := c.come(c.nodes[0], "alice")
	n := 0
	tell := func(user string, sessions ...*signalingtest.Client) {
		t.Helper()
		n++
		text := fmt.Sprint("message ", n)
		alice.Say(wire.Recipient{Type: wire.ToUser, UserID: user}, map[string]string{"text": text})
		is := func(m *wire.ServerMessage) bool {
			return m.Message != nil && string(m.Message.Data) == fmt.Sprintf(`{"text":%q}`, text)
		}
		for _, s := range sessions {
			s.Expect(text, is)
			s.Barrier()
			s.ExpectNone("once more", is)
		}
	}
	broadcasts := func() (n float64) {
		for _, node := range c.nodes {
			n += node.metric("talkd_signaling_user_broadcasts_total")
		}
		return n
	}
	before := broadcasts()
	at := make(map[string][]*signalingtest.Client)
	for i := range 8 {
		name := fmt.Sprint("user", i)
		at[name] = []*signalingtest.Client{c.come(c.nodes[1], name), c.come(c.nodes[2], name), c.come(c.nodes[0], name)}
		tell(name, at[name]...)
	}
	if after := broadcasts(); after != before {
		t.Errorf("%v messages went to all nodes", after-before)
	}
	c.nodes[3].kill()
	for name, sessions := range at {
		tell(name, sessions...)
	}
	for name, sessions := range at {
		sessions[0].Bye()
		tell(name, sessions[1:]...)
		moved := c.come(c.nodes[1], name)
		tell(name, sessions[1], sessions[2], moved)
	}
}

// TestSessionBehindAHangingLink: what is said to a session outside of rooms comes, and
// comes once, whether its node hangs or only cannot say that it has heard.
func TestSessionBehindAHangingLink(t *testing.T) {
	for name, disturb := range map[string]func(c *cluster){
		"the node hangs": func(c *cluster) { c.nodes[1].hang() },
		"one way only":   func(c *cluster) { c.cables.cutOneWay(c.nodes[1], c.nodes[0]) },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, 2, func(cfg *signaling.Config, _ *signaling.Deps) { cfg.LinkBeat = 100 * time.Millisecond })
			people(c)
			alice, bob := c.come(c.nodes[0], "alice"), c.come(c.nodes[1], "bob")
			say := func(text string) { alice.Say(wire.Recipient{Type: wire.ToSession, SessionID: bob.Session}, text) }
			say("before")
			bob.ExpectType(wire.TypeMessage)
			disturb(c)
			say("meanwhile")
			alice.Barrier()
			eventually(t, "the silence to be noticed", func() bool { return c.nodes[0].metric("talkd_signaling_links") == 0 })
			c.cables.mend()
			c.nodes[1].learnAgain()
			eventually(t, "a link", func() bool { return c.nodes[0].metric("talkd_signaling_links") == 1 })
			say("afterwards")
			for _, text := range []string{"meanwhile", "afterwards"} {
				if m := bob.ExpectType(wire.TypeMessage); string(m.Message.Data) != fmt.Sprintf("%q", text) {
					t.Errorf("bob hears %s, not %s", m.Message.Data, text)
				}
			}
			bob.Barrier()
			bob.ExpectNone("more", func(m *wire.ServerMessage) bool { return m.Type == wire.TypeMessage })
		})
	}
}

// TestUserBehindAHangingNode: a node that knows where users are hangs. Nothing is lost that
// was to go by way of it, and nothing comes twice when it goes on.
func TestUserBehindAHangingNode(t *testing.T) {
	c := newCluster(t, 3, func(cfg *signaling.Config, _ *signaling.Deps) { cfg.LinkBeat = 100 * time.Millisecond })
	people(c)
	const n = 16 // some of them are looked for at the node that hangs
	var users []*signalingtest.Client
	for i := range n {
		name := fmt.Sprint("user", i)
		c.nextcloud.AddUser(name, name)
		users = append(users, c.come(c.nodes[1], name))
	}
	alice := c.come(c.nodes[0], "alice")
	say := func(text string) {
		for i := range n {
			alice.Say(wire.Recipient{Type: wire.ToUser, UserID: fmt.Sprint("user", i)}, text)
		}
	}
	hear := func(text string) {
		t.Helper()
		for i := range n {
			if m := users[i].ExpectType(wire.TypeMessage); string(m.Message.Data) != fmt.Sprintf("%q", text) {
				t.Errorf("user%d hears %s, not %s", i, m.Message.Data, text)
			}
		}
	}
	say("before")
	hear("before")
	c.nodes[2].hang()
	say("while it hangs")
	hear("while it hangs")
	c.cables.mend()
	c.nodes[2].learnAgain()
	eventually(t, "links", func() bool { return c.nodes[2].metric("talkd_signaling_links") == 2 })
	say("afterwards")
	hear("afterwards")
	for _, x := range users {
		x.Barrier()
		x.ExpectNone("more", func(m *wire.ServerMessage) bool { return m.Type == wire.TypeMessage })
	}
}
