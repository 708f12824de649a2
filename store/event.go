package store

// EventKind says what changed.
type EventKind string

// Kinds of events that Apply emits.
const (
	EventClusterInit         EventKind = "cluster_init"
	EventNodePut             EventKind = "node_put"
	EventNodeRemoved         EventKind = "node_removed"
	EventDrainChanged        EventKind = "drain_changed"
	EventHomeAssigned        EventKind = "home_assigned"
	EventHomeReleased        EventKind = "home_released"
	EventSecretsChanged      EventKind = "secrets_changed"
	EventKeysChanged         EventKind = "keys_changed"
	EventBackendsChanged     EventKind = "backends_changed"
	EventUserPut             EventKind = "user_put"
	EventUserRemoved         EventKind = "user_removed"
	EventLoginsRemoved       EventKind = "logins_removed"
	EventConversationCreated EventKind = "conversation_created"
	EventConversationChanged EventKind = "conversation_changed"
	EventConversationDeleted EventKind = "conversation_deleted"
	EventAttendeeAdded       EventKind = "attendee_added"
	EventAttendeeRemoved     EventKind = "attendee_removed"
)

// Kinds of events that whoever hands events on emits: the reader has missed
// some and must read the state again.
const (
	EventLagged   EventKind = "lagged"
	EventRestored EventKind = "restored"
)

// Event is what an applied command changed. Only the fields of its kind are
// set; an event never carries a secret.
type Event struct {
	Index    uint64    `json:"index"`
	Kind     EventKind `json:"kind"`
	Room     RoomID    `json:"room,omitzero"` // of homes, conversations and attendees
	Node     NodeID    `json:"node,omitempty"`
	Home     Home      `json:"home,omitzero"`     // the home now, or the one that was released
	Previous Home      `json:"previous,omitzero"` // the home before an assignment
	Drain    Drain     `json:"drain,omitzero"`    // of the node now
	Key      KeyKind   `json:"key,omitempty"`
	Step     KeyStep   `json:"step,omitempty"` // of the rotation of Key
	User     string    `json:"user,omitempty"`
	Attendee Attendee  `json:"attendee,omitzero"`
}
