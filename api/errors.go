package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/talkd/talkd/store"
)

// Errors that the package's methods wrap.
var (
	// ErrBadTicket refuses a ticket that this cluster did not seal, or not for
	// this user.
	ErrBadTicket = errors.New("ticket refused")
	// ErrTicketExpired asks the client for new signaling settings.
	ErrTicketExpired = errors.New("ticket expired")
	// ErrNoRoom stands for unknown and for forbidden conversations alike.
	ErrNoRoom = errors.New("no such conversation")
	// ErrNoSession is what Calls says of a session that is not in the room.
	ErrNoSession = errors.New("no such session")
	// ErrUnavailable means that the cluster cannot decide, or not in time.
	ErrUnavailable = errors.New("the cluster cannot answer now")
	// ErrRefused means that something stands in the way of an operation; the
	// text behind it says what, and the way out.
	ErrRefused = errors.New("refused")
	// ErrWeakPassword refuses the password of a new account.
	ErrWeakPassword = errors.New("password too short")
	// ErrBusy means that more passwords wait to be checked than is sound.
	ErrBusy = errors.New("too many logins at the same time")
)

var (
	errBadPass       = errors.New("not sealed by this cluster")
	errPassExpired   = errors.New("sealed too long ago")
	errWrongPassword = errors.New("wrong user or password")
)

// failure is an error as a client gets it.
type failure struct {
	status  int
	code    string // the error in the data; "" for none
	message string
	retry   time.Duration // Retry-After, when positive
}

func (f *failure) Error() string { return fmt.Sprintf("%d %s", f.status, f.message) }

// refuse names the parameter or the rule that is in the way, as Talk does.
func refuse(status int, code, message string) error {
	return &failure{status: status, code: code, message: message}
}

func badParam(name, message string) error {
	return refuse(http.StatusBadRequest, name, name+": "+message)
}

func errLogin() error {
	return refuse(http.StatusUnauthorized, "", "Current user is not logged in")
}

// failureOf is the one table from errors to answers. What it does not know is
// the server's fault, and its text is not for the client.
func failureOf(err error) *failure {
	var f *failure
	switch {
	case errors.As(err, &f):
		return f
	case errors.Is(err, ErrNoRoom), errors.Is(err, ErrNoSession), errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrNoSuchUser):
		return &failure{status: http.StatusNotFound, message: "Not found"}
	case errors.Is(err, errWrongPassword):
		return &failure{status: http.StatusUnauthorized, message: "Wrong user or password"}
	case errors.Is(err, ErrWeakPassword):
		return &failure{status: http.StatusBadRequest, code: "password", message: err.Error()}
	case errors.Is(err, store.ErrInvalid):
		return &failure{status: http.StatusBadRequest, code: "value", message: err.Error()}
	case errors.Is(err, store.ErrExists):
		return &failure{status: http.StatusConflict, code: "exists", message: "Exists already"}
	case errors.Is(err, store.ErrLimit):
		return &failure{status: http.StatusTooManyRequests, code: "limit", message: "Limit reached"}
	case errors.Is(err, ErrUnavailable), errors.Is(err, ErrBusy), errors.Is(err, context.DeadlineExceeded):
		return &failure{status: http.StatusServiceUnavailable, message: "The service cannot answer now, try again", retry: time.Second}
	}
	return &failure{status: http.StatusInternalServerError, message: "Internal error"}
}
