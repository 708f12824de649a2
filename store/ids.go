package store

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// NodeID names a node for its whole life: lower-case letters, digits and
// hyphens, at most 63 characters, as in a DNS label (RFC 1123). It is in the
// node's certificate.
type NodeID string

// BackendID names a Nextcloud instance served by the cluster. The embedded
// backend has the empty id.
type BackendID string

// SessionID is the public id of a signaling session. It never changes, also
// not when the session moves to another node.
type SessionID string

// Embedded is the backend that talkd brings itself.
const Embedded BackendID = ""

// RoomID names a room in the whole cluster. Rooms of two backends never meet,
// also when their names are equal.
type RoomID struct {
	Backend BackendID `json:"backend,omitempty"`
	Name    string    `json:"name"`
}

// Limits of names that come from outside.
const (
	MaxNodeID    = 63
	MaxBackendID = 64
	MaxRoomName  = 255
)

// Errors of identifiers that come from outside.
var (
	ErrBadRoomID = errors.New("not a room id")
	ErrBadNodeID = errors.New("not a node id")
)

// String writes the id as it is written outside: "<backend>~<name>", and just
// "<name>" for the embedded backend.
func (r RoomID) String() string {
	if r.Backend == Embedded {
		return r.Name
	}
	return string(r.Backend) + "~" + r.Name
}

// Len is how many bytes backend and name have.
func (r RoomID) Len() int { return len(r.Backend) + len(r.Name) }

// ParseRoomID reads what String wrote, and nothing else.
func ParseRoomID(s string) (RoomID, error) {
	backend, name, found := strings.Cut(s, "~")
	if !found {
		backend, name = "", s
	}
	r := RoomID{Backend: BackendID(backend), Name: name}
	if found && backend == "" {
		return RoomID{}, fmt.Errorf("%w: empty backend id", ErrBadRoomID)
	}
	if err := r.Validate(); err != nil {
		return RoomID{}, err
	}
	return r, nil
}

// Validate checks a room id that comes from outside. A valid one survives
// String and ParseRoomID, and JSON.
func (r RoomID) Validate() error {
	if r.Name == "" || len(r.Name) > MaxRoomName || !utf8.ValidString(r.Name) || strings.ContainsFunc(r.Name, isControl) {
		return fmt.Errorf("%w: name %.64q", ErrBadRoomID, r.Name)
	}
	if r.Backend == Embedded {
		if strings.Contains(r.Name, "~") {
			return fmt.Errorf("%w: name %.64q", ErrBadRoomID, r.Name)
		}
		return nil
	}
	b := string(r.Backend)
	if len(b) > MaxBackendID || !utf8.ValidString(b) || strings.Contains(b, "~") || strings.ContainsFunc(b, isControl) {
		return fmt.Errorf("%w: backend %.64q", ErrBadRoomID, b)
	}
	return nil
}

// ParseNodeID checks a node id that comes from outside.
func ParseNodeID(s string) (NodeID, error) {
	if s == "" || len(s) > MaxNodeID || s[0] == '-' || s[len(s)-1] == '-' {
		return "", fmt.Errorf("%w: %.64q", ErrBadNodeID, s)
	}
	for _, c := range []byte(s) {
		letter, digit := c >= 'a' && c <= 'z', c >= '0' && c <= '9'
		if !letter && !digit && c != '-' {
			return "", fmt.Errorf("%w: %.64q (lower-case letters, digits and hyphens)", ErrBadNodeID, s)
		}
	}
	return NodeID(s), nil
}

func isControl(r rune) bool { return r < 0x20 || r == 0x7f }
