package relay

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/talkd/talkd/media"
)

// Errors that callers tell apart. Pull also returns media.ErrNotFound and
// media.ErrBadPublication, and a pull ends with media.ErrPublisherGone when
// the publication does.
var (
	ErrConfig = errors.New("relay: invalid configuration")
	// ErrClosed means that the pull or the Manager was closed on this node.
	ErrClosed = errors.New("relay: closed")
	// ErrDenied means that the publisher's edge does not give this node the
	// publication.
	ErrDenied = errors.New("relay: denied by the publisher's node")
	// ErrUnreachable means that the publisher's edge did not answer.
	ErrUnreachable = errors.New("relay: publisher's node is out of reach")
	// ErrLost means that a pull broke although the publication did not end.
	ErrLost = errors.New("relay: connection to the publisher's node lost")
)

// errKeys means that the other node does not know the keys (any more).
var errKeys = errors.New("relay: keys unknown")

// fromStatus turns the answer of another node into an error of this package.
func fromStatus(ctx context.Context, err error) error {
	if cause := ctx.Err(); cause != nil {
		return cause
	}
	switch s := status.Convert(err); s.Code() {
	case codes.NotFound:
		return fmt.Errorf("%w: %s", media.ErrNotFound, s.Message())
	case codes.PermissionDenied, codes.Unauthenticated:
		return fmt.Errorf("%w: %s", ErrDenied, s.Message())
	case codes.FailedPrecondition:
		return errKeys
	default:
		return fmt.Errorf("%w: %s: %s", ErrUnreachable, s.Code(), s.Message())
	}
}
