package signaling_test

import (
	"encoding/json"
	"flag"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/signalingtest"
	"github.com/talkd/talkd/signaling/wire"
)

var update = flag.Bool("update", false, "write the expectations of transcripts anew")

// people fills the Nextcloud of a cluster.
func people(c *cluster) { inhabit(c.nextcloud) }

func inhabit(nc *signalingtest.Nextcloud) {
	nc.AddUser("alice", "Alice")
	nc.AddUser("bob", "Bob")
	nc.AddGuest("carl")
	nc.SetRoom("room", signalingtest.Room{
		Properties: json.RawMessage(`{"name":"Our room"}`),
		SessionPermissions: map[wire.RoomSessionID][]string{
			"nc-guest": {backend.PermissionPublishAudio},
		},
		Sessions: map[wire.RoomSessionID]json.RawMessage{"nc-guest": json.RawMessage(`{"displayname":"Carl"}`)},
	})
}

// tokens are what clients prove themselves with, by the names that stories have for it.
func tokens(t testing.TB, nc *signalingtest.Nextcloud, internalSecret string) map[string]string {
	now := time.Now()
	random := strings.Repeat("0123456789abcdef", 4)
	forged := signalingtest.NewNextcloud(t, secret)
	return map[string]string{
		"token.alice":   nc.Token("alice", "Alice"),
		"token.guest":   nc.Token("", ""),
		"token.expired": nc.TokenOf(nc.Claims("alice", "Alice", now.Add(-time.Hour))),
		"token.early":   nc.TokenOf(nc.Claims("alice", "Alice", now.Add(time.Hour))),
		"token.forged":  forged.TokenOf(nc.Claims("alice", "Alice", now)),
		"token.other":   forged.Token("alice", "Alice"),

		// Of internal clients.
		"random":       random,
		"random.token": backend.Checksum([]byte(internalSecret), random, nil),
		"backend":      nc.URL(),
	}
}

// TestTranscripts plays each story on one node, and on three with each as the
// home of the room.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		if *peerURL != "" {
			t.Run(name+"/peer", func(t *testing.T) { compareWithPeer(t, file) })
			continue
		}
		t.Run(name+"/one", func(t *testing.T) {
			c := newCluster(t, 1)
			people(c)
			u := c.nodes[0].url()
			signalingtest.Play(t, file, signalingtest.Stage{Nodes: []string{u, u, u}, Nextcloud: c.nextcloud, Names: tokens(t, c.nextcloud, internalSecret), Update: *update})
		})
		for home := range 3 {
			t.Run(name+"/three/home"+string(rune('1'+home)), func(t *testing.T) {
				c := makeCluster(t, 3, true) // decisions reach the nodes at different times
				people(c)
				c.pin("room", c.nodes[home])
				signalingtest.Play(t, file, signalingtest.Stage{
					Nodes:     []string{c.nodes[0].url(), c.nodes[1].url(), c.nodes[2].url()},
					Nextcloud: c.nextcloud,
					Names:     tokens(t, c.nextcloud, internalSecret),
				})
			})
		}
	}
}
