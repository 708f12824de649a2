package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// Code is the machine-readable part of an error message. Clients switch on it.
type Code string

// The codes of the protocol document, of its established server where the
// document is silent, and CodeRedirect and CodeClusterFull, which are ours.
const (
	CodeInvalidFormat    Code = "invalid_format"
	CodeHelloExpected    Code = "hello_expected"
	CodeHelloVersion     Code = "invalid_hello_version"
	CodeClientType       Code = "invalid_client_type"
	CodeInvalidBackend   Code = "invalid_backend"
	CodeInvalidRequest   Code = "invalid_request"
	CodeInvalidTicket    Code = "invalid_ticket"
	CodeInvalidToken     Code = "invalid_token"
	CodeTokenNotYet      Code = "token_not_valid_yet"
	CodeTokenExpired     Code = "token_expired"
	CodeAuthFailed       Code = "auth_failed"
	CodeNoSuchUser       Code = "no_such_user"
	CodeNoSuchSession    Code = "no_such_session"
	CodeTooManyRequests  Code = "too_many_requests"
	CodeSessionLimit     Code = "session_limit_exceeded"
	CodeClusterFull      Code = "cluster_full"
	CodeNoSuchRoom       Code = "no_such_room"
	CodeAlreadyJoined    Code = "already_joined"
	CodeDuplicateSession Code = "duplicate_session"
	CodeRoomJoinFailed   Code = "room_join_failed"
	CodeFederation       Code = "federation_unsupported"
	CodeFederationFailed Code = "federation_error"
	CodeNotInRoom        Code = "not_in_room"
	CodeNotAllowed       Code = "not_allowed"
	CodeTransientLimit   Code = "transient_limit_exceeded"
	CodeClientNotFound   Code = "client_not_found"
	CodeProcessingFailed Code = "processing_failed"
	CodeNoSDP            Code = "no_sdp"
	CodeInvalidSDP       Code = "invalid_sdp"
	CodeNoCandidate      Code = "no_candidate"
	CodeInvalidCandidate Code = "invalid_candidate"
	CodeRedirect         Code = "redirect"
)

// Reasons to refuse a message. Wrap them with %w; ErrorFor finds the code.
var (
	ErrFormat           = errors.New("not a message of the protocol")
	ErrUnknownType      = errors.New("unknown type of message")
	ErrTooLarge         = errors.New("message too large")
	ErrTooDeep          = errors.New("message nested too deeply")
	ErrHelloExpected    = errors.New("hello expected")
	ErrHelloVersion     = errors.New("protocol version not supported")
	ErrClientType       = errors.New("client type not supported")
	ErrInvalidBackend   = errors.New("backend not supported")
	ErrInvalidRequest   = errors.New("the backend refused the request of the server")
	ErrInvalidTicket    = errors.New("ticket not valid")
	ErrInvalidToken     = errors.New("token not valid")
	ErrTokenNotYet      = errors.New("token not valid yet")
	ErrTokenExpired     = errors.New("token expired")
	ErrAuthFailed       = errors.New("session could not be authenticated")
	ErrNoSuchUser       = errors.New("no such user")
	ErrNoSuchSession    = errors.New("no such session")
	ErrTooManyRequests  = errors.New("too many requests")
	ErrSessionLimit     = errors.New("too many sessions")
	ErrClusterFull      = errors.New("the cluster is full: room for 0 more streams")
	ErrNoSuchRoom       = errors.New("no such room")
	ErrAlreadyJoined    = errors.New("already joined this room")
	ErrDuplicateSession = errors.New("session is in the room already")
	ErrRoomJoinFailed   = errors.New("room could not be joined")
	ErrFederation       = errors.New("federation not supported by the other server")
	ErrFederationOff    = errors.New("federation is switched off here")
	ErrFederationFailed = errors.New("no connection to the other server")
	ErrNotInRoom        = errors.New("not in a room")
	ErrNotAllowed       = errors.New("not allowed")
	ErrTransientLimit   = fmt.Errorf("too much transient data: a room may have %d keys and %d KiB, a value %d KiB", MaxTransientKeys, MaxTransientBytes>>10, MaxTransientValue>>10)
	ErrClientNotFound   = errors.New("no media connection for this message")
	ErrProcessingFailed = errors.New("processing failed")
	ErrNoSDP            = errors.New("no session description in the payload")
	ErrInvalidSDP       = errors.New("session description not valid")
	ErrNoCandidate      = errors.New("no candidate in the payload")
	ErrInvalidCandidate = errors.New("candidate not valid")
)

// codes is the one place that says which sentinel is which code. It is read
// only.
var codes = []struct {
	err  error
	code Code
}{
	{ErrFormat, CodeInvalidFormat},
	{ErrUnknownType, CodeInvalidFormat},
	{ErrTooLarge, CodeInvalidFormat},
	{ErrTooDeep, CodeInvalidFormat},
	{ErrHelloExpected, CodeHelloExpected},
	{ErrHelloVersion, CodeHelloVersion},
	{ErrClientType, CodeClientType},
	{ErrInvalidBackend, CodeInvalidBackend},
	{ErrInvalidRequest, CodeInvalidRequest},
	{ErrInvalidTicket, CodeInvalidTicket},
	{ErrInvalidToken, CodeInvalidToken},
	{ErrTokenNotYet, CodeTokenNotYet},
	{ErrTokenExpired, CodeTokenExpired},
	{ErrAuthFailed, CodeAuthFailed},
	{ErrNoSuchUser, CodeNoSuchUser},
	{ErrNoSuchSession, CodeNoSuchSession},
	{ErrTooManyRequests, CodeTooManyRequests},
	{ErrSessionLimit, CodeSessionLimit},
	{ErrClusterFull, CodeClusterFull},
	{ErrNoSuchRoom, CodeNoSuchRoom},
	{ErrAlreadyJoined, CodeAlreadyJoined},
	{ErrDuplicateSession, CodeDuplicateSession},
	{ErrRoomJoinFailed, CodeRoomJoinFailed},
	{ErrFederation, CodeFederation},
	{ErrFederationOff, CodeFederation},
	{ErrFederationFailed, CodeFederationFailed},
	{ErrNotInRoom, CodeNotInRoom},
	{ErrNotAllowed, CodeNotAllowed},
	{ErrTransientLimit, CodeTransientLimit},
	{ErrClientNotFound, CodeClientNotFound},
	{ErrProcessingFailed, CodeProcessingFailed},
	{ErrNoSDP, CodeNoSDP},
	{ErrInvalidSDP, CodeInvalidSDP},
	{ErrNoCandidate, CodeNoCandidate},
	{ErrInvalidCandidate, CodeInvalidCandidate},
}

// Error is an error as it goes over the wire.
type Error struct {
	Code    Code            `json:"code"`
	Message string          `json:"message"`
	Details json.RawMessage `json:"details,omitempty"`
}

func (e *Error) Error() string {
	if e.Message == "" {
		return string(e.Code)
	}
	return string(e.Code) + ": " + e.Message
}

// Unwrap lets errors.Is find the sentinel of the code, so that a refusal of a
// backend and one of our own are asked for alike.
func (e *Error) Unwrap() error {
	for _, c := range codes {
		if c.code == e.Code {
			return c.err
		}
	}
	return nil
}

// ErrorFor says how err is told to a client. Of several sentinels in one error
// the outermost counts: who wraps knows better what it means for the client.
// Only the text of the sentinel goes out, never what was wrapped around it,
// which may name addresses or files. An error that is in no table is
// CodeProcessingFailed.
func ErrorFor(err error) *Error {
	if e := find(err); e != nil {
		return e
	}
	return &Error{Code: CodeProcessingFailed, Message: ErrProcessingFailed.Error()}
}

// find looks through the tree of err as errors.Is does, from the outside.
func find(err error) *Error {
	if err == nil {
		return nil
	}
	//nolint:errorlint // this is the walk through the tree itself
	if e, ok := err.(*Error); ok {
		return e
	}
	for _, c := range codes {
		if err == c.err { //nolint:errorlint // see above
			return &Error{Code: c.code, Message: c.err.Error()}
		}
	}
	//nolint:errorlint // see above
	switch err := err.(type) {
	case interface{ Unwrap() error }:
		return find(err.Unwrap())
	case interface{ Unwrap() []error }:
		for _, inner := range err.Unwrap() {
			if e := find(inner); e != nil {
				return e
			}
		}
	}
	return nil
}

// Limits of an error that comes from elsewhere.
const (
	maxCode         = 64
	maxErrorMessage = 256
	maxErrorDetails = 4096
)

// ForeignError makes an Error out of what a backend said. A code that is not
// one, and anything that is too long, gives way: the fallback's code is used,
// the text is cut and the details are left out.
func ForeignError(code, message string, details json.RawMessage, fallback error) *Error {
	e := &Error{Code: Code(code), Message: cleanText(message)}
	if !validCode(code) {
		e.Code = ErrorFor(fallback).Code
	}
	if e.Message == "" {
		e.Message = ErrorFor(fallback).Message
	}
	if len(details) <= maxErrorDetails && CheckJSON(details, maxErrorDetails) == nil {
		e.Details = details
	}
	return e
}

func validCode(s string) bool {
	if s == "" || len(s) > maxCode {
		return false
	}
	for _, c := range []byte(s) {
		letter, digit := c >= 'a' && c <= 'z', c >= '0' && c <= '9'
		if !letter && !digit && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// cleanText cuts s to a length fit for a message and takes out what does not
// print.
func cleanText(s string) string {
	if len(s) > maxErrorMessage {
		s = s[:maxErrorMessage]
	}
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
}

// RedirectDetails are the details of CodeRedirect: where to go, and the ticket
// that proves it (contract, section 4).
type RedirectDetails struct {
	RoomID string `json:"roomid"`
	URL    string `json:"url"`
	Ticket string `json:"ticket"`
}

// Redirect is the answer to a client that is better served by another node.
func Redirect(d RedirectDetails) *Error {
	return &Error{Code: CodeRedirect, Message: "this room is served by another node", Details: Marshal(d)}
}

// AlreadyJoined is the answer to a client that joins the room it is in.
func AlreadyJoined(r Room) *Error {
	return &Error{
		Code:    CodeAlreadyJoined,
		Message: ErrAlreadyJoined.Error(),
		Details: Marshal(struct {
			Room Room `json:"room"`
		}{r}),
	}
}
