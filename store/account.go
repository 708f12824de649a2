package store

import (
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// Limits of an account, in bytes; of the display name, in characters.
const (
	MaxUserID       = 64
	MaxDisplayName  = 255
	MaxPasswordHash = 512
	// MaxLogins is how many logins a user keeps; a new one beyond that ends
	// the oldest.
	MaxLogins = 100
)

// User is an account of the embedded backend.
type User struct {
	ID           string    `json:"id"`
	DisplayName  string    `json:"display_name"` // the id when empty
	PasswordHash string    `json:"password_hash"`
	Admin        bool      `json:"admin,omitempty"`
	Created      time.Time `json:"created"` // set by the first put_user, kept by later ones
}

// Validate checks the account against the limits.
func (u User) Validate() error {
	if err := checkUserID(u.ID); err != nil {
		return err
	}
	if err := checkRunes("display name", u.DisplayName, MaxDisplayName, false); err != nil {
		return err
	}
	return checkText("password hash", u.PasswordHash, 1, MaxPasswordHash)
}

// LogValue keeps the password hash out of logs.
func (u User) LogValue() slog.Value { return slog.StringValue(u.ID) }

// Login is a token by which a user stays logged in.
type Login struct {
	TokenHash TokenHash `json:"token_hash"`
	User      string    `json:"user"`
	Expires   time.Time `json:"expires"`
}

// checkUserID allows the characters of a Nextcloud user id. None of them can
// be mistaken in a path or a list.
func checkUserID(s string) error {
	if s == "" || len(s) > MaxUserID || s[0] == ' ' || s[len(s)-1] == ' ' || s == "." || s == ".." {
		return fmt.Errorf("%w: user id %.80q", ErrInvalid, s)
	}
	for _, c := range []byte(s) {
		if !isAlphanumeric(c) && !strings.ContainsRune(" _.@-'", rune(c)) {
			return fmt.Errorf("%w: user id %.80q", ErrInvalid, s)
		}
	}
	return nil
}
