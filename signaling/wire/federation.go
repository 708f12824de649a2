package wire

import "fmt"

// Kinds of participants, as Nextcloud calls them.
const (
	ActorUser      = "users"
	ActorFederated = "federated_users" // of another Nextcloud
)

// Federation says at which other server a room is, and how to get in there.
type Federation struct {
	Signaling string `json:"signaling"`        // URL of the signaling server
	URL       string `json:"url"`              // of the Nextcloud that it serves
	RoomID    string `json:"roomid,omitempty"` // there; empty: as here
	Token     string `json:"token"`            // of a hello 2.0
}

func (f *Federation) validate(room string) error {
	if room == "" {
		return fmt.Errorf("%w: federation without a room", ErrFormat)
	}
	if err := checkText("federation signaling", f.Signaling, 1, maxURL); err != nil {
		return err
	}
	if err := checkText("federation url", f.URL, 1, maxURL); err != nil {
		return err
	}
	if err := checkText("federation roomid", f.RoomID, 0, maxRoomID); err != nil {
		return err
	}
	return checkText("federation token", f.Token, 1, maxToken)
}

// FederationInterruptedEvent tells that the other server cannot be reached for now.
func FederationInterruptedEvent() ServerMessage {
	return event(Event{Target: TargetRoom, Type: EventFederationInterrupted})
}

// FederationResumedEvent tells that it can be again: as if nothing had happened, or
// with another session there.
func FederationResumedEvent(resumed bool) ServerMessage {
	return event(Event{Target: TargetRoom, Type: EventFederationResumed, Resumed: &resumed})
}
