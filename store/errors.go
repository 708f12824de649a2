package store

import (
	"errors"
	"fmt"
)

// Errors that must stop the node: what was committed cannot be applied here.
var (
	// ErrUnknownCommand means that a newer binary wrote the command. Skipping
	// it would let this node's state drift from that of the others.
	ErrUnknownCommand = errors.New("unknown command")
	// ErrOutOfOrder means that the log was handed over twice or backwards.
	ErrOutOfOrder = errors.New("command applied out of order")
	// ErrDamaged means that the database holds what no command could write.
	ErrDamaged = errors.New("database damaged")
	// ErrClosed means that the state was closed.
	ErrClosed = errors.New("store closed")
)

// Errors of snapshots.
var (
	ErrBadSnapshot = errors.New("not a usable snapshot")
	// ErrSnapshotReleased is what Persist says when the state was restored or
	// closed before the copy was made.
	ErrSnapshotReleased = errors.New("snapshot released")
)

// A refused command changes nothing; every node refuses it alike. These errors
// travel between nodes as codes, see Result.Code and ErrorFromCode.
var (
	ErrRefused      = refuse("refused", "command refused")
	ErrMalformed    = refuse("malformed", "malformed command")
	ErrInvalid      = refuse("invalid", "invalid value")
	ErrExists       = refuse("exists", "exists already")
	ErrNotFound     = refuse("not_found", "not found")
	ErrNoSuchNode   = refuse("no_such_node", "no such node")
	ErrNoSuchUser   = refuse("no_such_user", "no such user")
	ErrStaleEpoch   = refuse("stale_epoch", "stale epoch")
	ErrTokenUsed    = refuse("token_used", "token used already")
	ErrTokenExpired = refuse("token_expired", "token expired")
	ErrLimit        = refuse("limit", "limit reached")
)

// refusal is an error with the code under which it travels.
type refusal struct{ code, text string }

func (r *refusal) Error() string { return r.text }

func refuse(code, text string) error { return &refusal{code: code, text: text} }

// isRefusal tells a refused command from an error that must stop the node.
func isRefusal(err error) bool {
	var r *refusal
	return errors.As(err, &r)
}

// errorCode is the code of a refusal, "" for none.
func errorCode(err error) string {
	if err == nil {
		return ""
	}
	var r *refusal
	if errors.As(err, &r) {
		return r.code
	}
	return "refused"
}

// ErrorFromCode turns the code of a result back into the error, nil for "". A
// code that only a newer binary knows becomes ErrRefused.
func ErrorFromCode(code string) error {
	if code == "" {
		return nil
	}
	for _, err := range []error{
		ErrRefused, ErrMalformed, ErrInvalid, ErrExists, ErrNotFound, ErrNoSuchNode, ErrNoSuchUser,
		ErrStaleEpoch, ErrTokenUsed, ErrTokenExpired, ErrLimit,
	} {
		if errorCode(err) == code {
			return err
		}
	}
	return fmt.Errorf("%w (code %.32q)", ErrRefused, code)
}
