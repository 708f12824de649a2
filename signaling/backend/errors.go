package backend

import "errors"

// Errors of this package. Those that a client caused are wrapped together with
// the sentinel of package wire that has the code for it; an error that the
// instance itself named is a *wire.Error.
var (
	ErrUnknownBackend = errors.New("no such backend configured")
	ErrConfig         = errors.New("backend configuration not valid")
	ErrChecksum       = errors.New("checksum does not match")
	ErrUnreachable    = errors.New("backend does not answer")
	ErrGivenUp        = errors.New("backend has not answered for a while, and is given up for now")
	ErrBadResponse    = errors.New("backend answers with something else")
	ErrBadRequest     = errors.New("not a request of a backend")
	ErrNoTokenKey     = errors.New("backend has no key for tokens that fits")
	ErrBadNumber      = errors.New("not a number that can be called")
	ErrUnknownRequest = errors.New("unknown type of backend request")
)
