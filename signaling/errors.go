package signaling

import (
	"errors"
	"fmt"
	"strings"

	"github.com/talkd/talkd/signaling/wire"
)

// Errors of this package.
var (
	// ErrNoSession: none of the sessions that a backend told about is in the
	// room.
	ErrNoSession = errors.New("no such session in the room")
	// ErrDetached: the home of the room has lost contact with the cluster, or
	// this node has lost contact with the home.
	ErrDetached = errors.New("the room is detached from the cluster")
	// ErrUndecided: nobody can decide where the room is at home, and waiting does
	// not help. Places says so.
	ErrUndecided = errors.New("the cluster can decide nothing now")
	// ErrNotHome: the node that was asked is not the home of the room.
	ErrNotHome = errors.New("not the home of the room")
	// ErrNotListening: the peer has no session that may hear the publication.
	ErrNotListening = errors.New("no session of that node may hear this")

	errClosed    = errors.New("signaling is closed")
	errReleasing = errors.New("the room is being released")
	errFull      = errors.New("too many frames are waiting")
	errSealed    = errors.New("not sealed by this cluster")
	errNoSecret  = errors.New("the cluster has no secret yet")
	errTaken     = errors.New("the session is here already")
	errStale     = errors.New("a former home of the room")
	// errWarm: what is not about media is said on the other socket.
	errWarm = fmt.Errorf("%w: the session has not moved yet", wire.ErrNotAllowed)
)

// detached is what a client hears that wants into a room that cannot take
// anybody right now.
func detached() error {
	return &wire.Error{Code: wire.CodeProcessingFailed, Message: "the room is detached from the cluster; try again"}
}

func lower(s string) string { return strings.ToLower(s) }

// logged is what is logged of an error: not the text of a refusal, which a backend or
// another server wrote for the client.
func logged(err error) string {
	text := err.Error()
	if refusal := (*wire.Error)(nil); errors.As(err, &refusal) && refusal.Message != "" {
		text = strings.ReplaceAll(text, ": "+refusal.Message, "")
	}
	return text
}
