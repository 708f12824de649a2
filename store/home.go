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
}
