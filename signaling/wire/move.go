package wire

import "fmt"

// A client with the feature ClientMove is asked to go on at another node, and
// tells that node when its media flow there:
//
//	old node ──move {url, ticket}──▶ client ──hello {ticket}──▶ new node
//	                                 client ◀──hello {moving}── new node
//	                                 client ──offers, requests─▶ new node
//	                                 client ──move {done}──────▶ new node
//	                                 client ◀──move {done, room} new node
//	old node ──bye session_moved───▶ client

// Why a client is asked to move.
const (
	MoveDrain = "drain" // the node is about to be stopped
	MoveRoom  = "move"  // the room has another home now
)

// States of a move, as the client tells them and the new node confirms.
const (
	MoveDone  = "done"
	MoveAbort = "abort"
)

// Move asks a client to go on at another node, or with State confirms what it
// said.
type Move struct {
	RoomID string `json:"roomid,omitempty"`
	URL    string `json:"url,omitempty"`
	Ticket string `json:"ticket,omitempty"`
	Reason string `json:"reason,omitempty"`
	// DeadlineMS is how long the client may take, in ms.
	DeadlineMS int64 `json:"deadline_ms,omitempty"`

	State string `json:"state,omitempty"`
	// Room is what the answer to entering it would be.
	Room *Room `json:"room,omitempty"`
}

// MoveState is what a client says of its move.
type MoveState struct {
	State string `json:"state"`
}

func (m *MoveState) validate() error {
	if m.State != MoveDone && m.State != MoveAbort {
		return fmt.Errorf("%w: move state %.32q", ErrFormat, m.State)
	}
	return nil
}
