// Package doctor looks at what lies between the people of a Nextcloud and this
// cluster, hop by hop, and names the broken one in plain words.
//
//	talkd doctor ─┬─ Address ── name, connection, certificate, welcome, WebSocket ──> each node, by its public URL
//	              ├─ admin API ── each node ── Nextcloud ── capabilities, clock, key, secret ──> each Nextcloud
//	              ├─ TURN ── binding, relay address, permission, a packet there and back ──> each way to each TURN server
//	              └─ Look (package load/call) ── publish, receive ──> each node
//
// All functions return findings, never errors: that something does not work is what they
// are for. They start no goroutine that outlives them.
package doctor

import (
	"fmt"
	"strings"
)

// Result of a look.
type Result string

const (
	OK      Result = "ok"
	Note    Result = "note"    // nothing to do about it
	Warning Result = "warning" // works, but not for everybody or not for long
	Failed  Result = "failed"
)

// Finding is what a look at one thing has shown.
type Finding struct {
	// Check names what was looked at.
	Check string `json:"check"`
	// About is whose it is: a URL, or a node.
	About string `json:"about"`
	// From is the node that looked; empty is whoever asks.
	From   string `json:"from,omitempty"`
	Result Result `json:"result"`
	Text   string `json:"text"`
	// Do says what to do about it.
	Do string `json:"do,omitempty"`
}

// Examination is what the nodes have found, and what whoever asks needs to look from
// outside: the ticket lets clients into the room for two minutes, at any node.
type Examination struct {
	Findings []Finding `json:"findings"`
	Room     string    `json:"room"`
	Ticket   string    `json:"ticket"`
	// TURN is nil from a node that is older.
	TURN *TURN `json:"turn,omitempty"`
}

// Names of checks.
const (
	CheckCluster     = "cluster"
	CheckName        = "name"
	CheckConnection  = "connection"
	CheckCertificate = "certificate"
	CheckWelcome     = "welcome"
	CheckProxy       = "proxy"
	CheckWebSocket   = "websocket"
	CheckNextcloud   = "nextcloud"
	CheckClock       = "clock"
	CheckKey         = "key"
	CheckSecret      = "secret"
	CheckTURN        = "turn"
	CheckMedia       = "media"
)

// findings are those about one thing.
type findings struct {
	about string
	list  []Finding
}

// maxText bounds what strangers may have written.
const maxText = 1000 // runes

// add makes the text one that nodes can tell each other.
func (f *findings) add(check string, r Result, text, do string) {
	text = strings.ToValidUTF8(fmt.Sprintf("%.*s", maxText, text), "\ufffd")
	f.list = append(f.list, Finding{Check: check, About: f.about, Result: r, Text: text, Do: do})
}

func (f *findings) ok(check, text string)          { f.add(check, OK, text, "") }
func (f *findings) failed(check, text, do string)  { f.add(check, Failed, text, do) }
func (f *findings) warning(check, text, do string) { f.add(check, Warning, text, do) }

// Count says how many findings have a result.
func Count(list []Finding, r Result) (n int) {
	for _, f := range list {
		if f.Result == r {
			n++
		}
	}
	return n
}
