package store

import "time"

// Home is the node that Raft assigned to a room.
type Home struct {
	Node NodeID `json:"node"`
	// Epoch rises with every assignment in the cluster, so also for every
	// room, and also when the room was released in between. A frame with a
	// lower one comes from a former home.
	Epoch uint64 `json:"epoch"`
	// Created is when the room was first placed; it survives a move.
	Created time.Time `json:"created"`
	// Reason is why it was assigned to this node.
	Reason Reason `json:"reason,omitempty"`
}

// Reason is why a home was assigned.
type Reason string

// Reasons of assignments.
const (
	ReasonNew   Reason = "new"   // the room had none
	ReasonAnew  Reason = "anew"  // the home before was silent
	ReasonMove  Reason = "move"  // an operator wanted it
	ReasonDrain Reason = "drain" // the home before is leaving
)

// canonical is the constant of that text, "" if there is none.
func (r Reason) canonical() Reason {
	for _, known := range reasons() {
		if r == known {
			return known
		}
	}
	return ""
}

// Assignment makes a node the home of a room, provided that the room's epoch
// still is PrevEpoch (0: the room has no home). The tags are short: there are
// many in one entry of the log.
type Assignment struct {
	Room      RoomID `json:"r"`
	Node      NodeID `json:"n"`
	PrevEpoch uint64 `json:"e,omitempty"`
	Reason    Reason `json:"w"`
}

func (a Assignment) validate() error {
	if err := checkRoomID(a.Room); err != nil {
		return err
	}
	if err := checkReason(a.Reason); err != nil {
		return err
	}
	return checkNodeID(a.Node)
}

// Assigned is what became of one assignment of many.
type Assigned struct {
	Home Home
	Err  error // a refusal: nothing changed
}

// Drain says whether the cluster wants a node to be left by rooms and people.
// It outlives restarts of the node and changes of the leader.
type Drain struct {
	On     bool   `json:"on"`
	Reason string `json:"reason,omitempty"` // for people
}
