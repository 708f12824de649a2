package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// TestErrorCodes is the protocol's list: clients switch on these texts.
func TestErrorCodes(t *testing.T) {
	want := map[string][]error{
		"invalid_format":           {ErrFormat, ErrUnknownType, ErrTooLarge, ErrTooDeep},
		"hello_expected":           {ErrHelloExpected},
		"invalid_hello_version":    {ErrHelloVersion},
		"invalid_client_type":      {ErrClientType},
		"invalid_backend":          {ErrInvalidBackend},
		"invalid_request":          {ErrInvalidRequest},
		"invalid_ticket":           {ErrInvalidTicket},
		"invalid_token":            {ErrInvalidToken},
		"token_not_valid_yet":      {ErrTokenNotYet},
		"token_expired":            {ErrTokenExpired},
		"auth_failed":              {ErrAuthFailed},
		"no_such_user":             {ErrNoSuchUser},
		"no_such_session":          {ErrNoSuchSession},
		"too_many_requests":        {ErrTooManyRequests},
		"session_limit_exceeded":   {ErrSessionLimit},
		"cluster_full":             {ErrClusterFull},
		"no_such_room":             {ErrNoSuchRoom},
		"already_joined":           {ErrAlreadyJoined},
		"duplicate_session":        {ErrDuplicateSession},
		"room_join_failed":         {ErrRoomJoinFailed},
		"federation_unsupported":   {ErrFederation, ErrFederationOff},
		"federation_error":         {ErrFederationFailed},
		"not_in_room":              {ErrNotInRoom},
		"not_allowed":              {ErrNotAllowed},
		"transient_limit_exceeded": {ErrTransientLimit},
		"client_not_found":         {ErrClientNotFound},
		"processing_failed":        {ErrProcessingFailed},
		"no_sdp":                   {ErrNoSDP},
		"invalid_sdp":              {ErrInvalidSDP},
		"no_candidate":             {ErrNoCandidate},
		"invalid_candidate":        {ErrInvalidCandidate},
	}
	listed := 0
	for code, sentinels := range want {
		for _, sentinel := range sentinels {
			listed++
			err := fmt.Errorf("%w: secret detail", sentinel)
			e := ErrorFor(err)
			if string(e.Code) != code {
				t.Errorf("ErrorFor(%v) has code %s, want %s", sentinel, e.Code, code)
			}
			if e.Message == "" || strings.Contains(e.Message, "secret") {
				t.Errorf("ErrorFor(%v) says %q", sentinel, e.Message)
			}
			if !errors.Is(&Error{Code: Code(code)}, sentinels[0]) {
				t.Errorf("code %s does not lead to %v", code, sentinels[0])
			}
		}
	}
	if listed != len(codes) {
		t.Errorf("%d sentinels listed here, %d in the table", listed, len(codes))
	}
}

func TestErrorForOthers(t *testing.T) {
	if e := ErrorFor(errors.New("disk full at /var/lib")); e.Code != CodeProcessingFailed || strings.Contains(e.Message, "/") {
		t.Errorf("unknown error becomes %v", e)
	}
	own := &Error{Code: "strange", Message: "m"}
	if e := ErrorFor(fmt.Errorf("asking: %w", own)); e != own {
		t.Errorf("an Error becomes %v", e)
	}
	if e := ErrorFor(fmt.Errorf("%w: %w", ErrAuthFailed, fmt.Errorf("answer: %w", ErrTooDeep))); e.Code != CodeAuthFailed {
		t.Errorf("of two sentinels %v counts, not the outer one", e)
	}
	if e := ErrorFor(errors.Join(errors.New("x"), fmt.Errorf("y: %w", ErrNoSuchRoom))); e.Code != CodeNoSuchRoom {
		t.Errorf("of several errors %v counts", e)
	}
	if e := ErrorFor(nil); e.Code != CodeProcessingFailed {
		t.Errorf("no error becomes %v", e)
	}
	if own.Unwrap() != nil {
		t.Error("a strange code leads to a sentinel")
	}
	if own.Error() != "strange: m" || (&Error{Code: "c"}).Error() != "c" {
		t.Error("text of an Error")
	}
}

func TestForeignError(t *testing.T) {
	cases := []struct {
		name, code, message, details string
		want                         Error
	}{
		{"as it is", "no_such_room", "Not invited.", `{"a":1}`, Error{Code: "no_such_room", Message: "Not invited.", Details: json.RawMessage(`{"a":1}`)}},
		{"no code", "", "m", ``, Error{Code: "auth_failed", Message: "m"}},
		{"odd code", "No Code<", "m", ``, Error{Code: "auth_failed", Message: "m"}},
		{"long code", strings.Repeat("c", maxCode+1), "m", ``, Error{Code: "auth_failed", Message: "m"}},
		{"no text", "c", "", ``, Error{Code: "c", Message: ErrAuthFailed.Error()}},
		{"text that does not print", "c", "a\r\nb\u202e\xff", ``, Error{Code: "c", Message: "ab"}},
		{"long text, cut inside of a rune", "c", strings.Repeat("x", maxErrorMessage-1) + "ü", ``, Error{Code: "c", Message: strings.Repeat("x", maxErrorMessage-1)}},
		{"long details", "c", "m", `"` + strings.Repeat("x", maxErrorDetails) + `"`, Error{Code: "c", Message: "m"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := ForeignError(c.code, c.message, json.RawMessage(c.details), ErrAuthFailed)
			if got.Code != c.want.Code || got.Message != c.want.Message || string(got.Details) != string(c.want.Details) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestRedirectAndAlreadyJoined(t *testing.T) {
	m := ServerMessage{ID: "1", Type: TypeError, Error: Redirect(RedirectDetails{RoomID: "r", URL: "wss://n2.example/spreed", Ticket: "t"})}
	if got, want := string(Encode(m)), `{"id":"1","type":"error","error":{"code":"redirect","message":"this room is served by another node","details":{"roomid":"r","url":"wss://n2.example/spreed","ticket":"t"}}}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	m = ErrorReply("2", AlreadyJoined(Room{RoomID: "r", Properties: json.RawMessage(`{"name":"x"}`)}))
	if got, want := string(Encode(m)), `{"id":"2","type":"error","error":{"code":"already_joined","message":"already joined this room","details":{"room":{"roomid":"r","properties":{"name":"x"}}}}}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
