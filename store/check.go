package store

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// The checks below name the field and its length, never its text: what is
// refused may be a secret.

// checkText bounds the bytes of a string of one line. JSON cannot carry what
// is not UTF-8: it would come out of the log as another string.
func checkText(name, s string, least, most int) error {
	if len(s) < least || len(s) > most {
		return fmt.Errorf("%w: %s has %d bytes, allowed are %d to %d", ErrInvalid, name, len(s), least, most)
	}
	if !utf8.ValidString(s) || strings.ContainsFunc(s, isControl) {
		return fmt.Errorf("%w: %s has characters that are not allowed", ErrInvalid, name)
	}
	return nil
}

// checkRunes bounds the characters of a text for people.
func checkRunes(name, s string, most int, lines bool) error {
	if len(s) > most*utf8.UTFMax || utf8.RuneCountInString(s) > most {
		return fmt.Errorf("%w: %s has more than %d characters", ErrInvalid, name, most)
	}
	bad := isControl
	if lines {
		bad = func(r rune) bool { return isControl(r) && r != '\n' && r != '\r' && r != '\t' }
	}
	if !utf8.ValidString(s) || strings.ContainsFunc(s, bad) {
		return fmt.Errorf("%w: %s has characters that are not allowed", ErrInvalid, name)
	}
	return nil
}

func checkBytes(name string, b []byte, least, most int) error {
	if len(b) < least || len(b) > most {
		return fmt.Errorf("%w: %s has %d bytes, allowed are %d to %d", ErrInvalid, name, len(b), least, most)
	}
	return nil
}

func isAlphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}
