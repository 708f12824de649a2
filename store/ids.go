package store

import (
	"errors"
	"fmt"
	"strings"
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
	Backend BackendID
	Name    string
}

// Limits of names that come from outside.
const (
	MaxNodeID   = 63
	MaxRoomName = 255
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

// ParseRoomID reads what String wrote.
func ParseRoomID(s string) (RoomID, error) {
	backend, name, found := strings.Cut(s, "~")
	if !found {
		backend, name = "", s
	}
	if name == "" || len(name) > MaxRoomName || strings.ContainsFunc(s, isControl) {
		return RoomID{}, fmt.Errorf("%w: %.64q", ErrBadRoomID, s)
	}
	return RoomID{Backend: BackendID(backend), Name: name}, nil
}

// ParseNodeID checks a node id that comes from outside.
func ParseNodeID(s string) (NodeID, error) {
	if s == "" || len(s) > MaxNodeID || s[0] == '-' || s[len(s)-1] == '-' {
		return "", fmt.Errorf("%w: %.64q", ErrBadNodeID, s)
	}
	for _, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-') {
			return "", fmt.Errorf("%w: %.64q (lower-case letters, digits and hyphens)", ErrBadNodeID, s)
		}
	}
	return NodeID(s), nil
}

func isControl(r rune) bool { return r < 0x20 || r == 0x7f }
