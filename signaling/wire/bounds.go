package wire

import (
	"encoding/json"
	"fmt"
	"unicode"
	"unicode/utf8"

	"github.com/talkd/talkd/store"
)

// MaxFrame is the largest frame a client may send.
const MaxFrame = 64 << 10

// MaxDepth is how deep a message may be nested.
const MaxDepth = 32

// Limits of fields, in bytes.
const (
	maxID        = 255
	maxFeatures  = 32
	maxFeature   = 64
	maxToken     = 4096
	maxURL       = 2048
	maxRoomID    = store.MaxRoomName
	maxSessionID = 512
	maxUserID    = 255
	maxSID       = 255
)

// CheckJSON bounds what a decoder is given. Text that is not UTF-8 is refused as
// it would pass through to other clients, whose browsers close a WebSocket that
// carries it (RFC 6455, section 8.1).
func CheckJSON(b []byte, size int) error {
	if len(b) > size {
		return fmt.Errorf("%w: more than %d bytes", ErrTooLarge, size)
	}
	if !utf8.Valid(b) {
		return fmt.Errorf("%w: not UTF-8", ErrFormat)
	}
	if Depth(b) > MaxDepth {
		return fmt.Errorf("%w: more than %d levels", ErrTooDeep, MaxDepth)
	}
	return nil
}

// Depth counts how deep objects and arrays are nested in b. It does not check
// that b is JSON.
func Depth(b []byte) int {
	depth, deepest := 0, 0
	inString, escaped := false, false
	for _, c := range b {
		switch {
		case escaped:
			escaped = false
		case inString:
			escaped = c == '\\'
			inString = c != '"'
		case c == '"':
			inString = true
		case c == '{' || c == '[':
			depth++
			deepest = max(deepest, depth)
		case c == '}' || c == ']':
			depth--
		}
	}
	return deepest
}

// checkText refuses a field that is too short, too long, or has characters that
// do not print: such a field is no name, and it would end in a log.
func checkText(name, s string, least, most int) error {
	if len(s) < least {
		if s == "" {
			return fmt.Errorf("%w: no %s", ErrFormat, name)
		}
		return fmt.Errorf("%w: %s shorter than %d", ErrFormat, name, least)
	}
	if len(s) > most {
		return fmt.Errorf("%w: %s longer than %d", ErrFormat, name, most)
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("%w: %s has characters that do not print", ErrFormat, name)
		}
	}
	return nil
}

// isPresent tells whether a raw field is there and not null.
func isPresent(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }

// isObject tells whether a raw field, which a decoder has taken, is an object.
// Decoders hand on raw fields without leading blanks.
func isObject(raw json.RawMessage) bool { return len(raw) > 0 && raw[0] == '{' }
