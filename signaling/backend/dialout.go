package backend

import (
	"encoding/json"
	"fmt"
)

// TypeDialout asks to call somebody into the room.
const TypeDialout = "dialout"

// Dialout says whom to call, as a number of E.164.
type Dialout struct {
	Number  string          `json:"number"`
	Options json.RawMessage `json:"options,omitempty"`
	Via     string          `json:"-"` // by which URL of the instance it came; empty: its first
}

// Digits of a number (ITU-T E.164, section 6.2.1: 15 at most; some networks have more).
const maxDigits = 20

// maxOptions bounds what is passed on to the client that makes the call.
const maxOptions = 8 << 10

func (d *Dialout) validate() error {
	digits := d.Number
	if digits != "" && digits[0] == '+' {
		digits = digits[1:]
	}
	if len(digits) == 0 || len(digits) > maxDigits {
		return fmt.Errorf("%w: a number of %d digits", ErrBadNumber, len(digits))
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return fmt.Errorf("%w: not only digits", ErrBadNumber)
		}
	}
	if len(d.Options) > maxOptions {
		return fmt.Errorf("%w: options larger than %d", ErrBadRequest, maxOptions)
	}
	d.Options = objectOrNil(d.Options)
	return nil
}
