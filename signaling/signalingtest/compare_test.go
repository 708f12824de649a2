package signalingtest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A server that does otherwise: all of it is told, and the story goes on.
func TestDiffers(t *testing.T) {
	nc := NewNextcloud(t, "secret")
	file := filepath.Join(t.TempDir(), "story.txt")
	const story = `@alice
alice< {"type":"welcome","welcome":{"node":"n1"}}
alice> {"id":"1","type":"hello","hello":{"version":"1.0","resumeid":"r"}}
alice< {"id":"1","type":"hello","hello":{"sessionid":"<a>","more":true}}
alice> {"type":"message","message":{"recipient":{"type":"session","sessionid":"<a>"},"data":1}}
alice> {"type":"message","message":{"recipient":{"type":"session","sessionid":"<a>"},"data":2}}
alice> {"type":"message","message":{"recipient":{"type":"session","sessionid":"<unknown>"},"data":3}}
alice< {"type":"message","message":{"*":"*","data":2}}
alice< {"id":"9","type":"pong"}
!400 room {"type":"message","message":{"data":1}}
alice> {"type":"message","message":{"recipient":{"type":"session","sessionid":"<a>"},"data":4}}
alice< closed
`
	if err := os.WriteFile(file, []byte(story), 0o600); err != nil {
		t.Fatal(err)
	}
	var got []string
	Play(t, file, Stage{Nodes: []string{startEcho(t, nc)}, Nextcloud: nc, Differs: func(what string) { got = append(got, what) }})
	want := []string{
		`:2: alice< {"type":"welcome","welcome":{"node":"n1"}}` + "\n  comes as ",
		":4: ",
		":7: ",
		":8: alice< {\"type\":\"message\",\"message\":{\"*\":\"*\",\"data\":2}}\n  comes after {\"type\":\"message\",\"message\":{\"sender\":{\"type\":\"session\",\"sessionid\":\"session-1\"},\"data\":1}}",
		":9: alice< {\"id\":\"9\",\"type\":\"pong\"}\n  does not come",
		":10: !400 room {\"type\":\"message\",\"message\":{\"data\":1}}\n  status 200",
		":12: alice< closed\n  stays open",
		`: more for alice: {"type":"message","message":{"sender":{"type":"session","sessionid":"session-1"},"data":4}}`,
	}
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || !strings.HasPrefix(strings.TrimPrefix(got[i], file), want[i]) {
			t.Fatalf("%d: told %q, want %q", i, got, want)
		}
	}
}
