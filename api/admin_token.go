package api

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Limits of an admin token, in characters.
const (
	minAdminToken = 20
	maxAdminToken = 512
)

// LoadOrCreateToken reads a token of the admin listener, or makes one at the
// first start. The file is for its owner alone (0600); one that
// others can read is refused.
func LoadOrCreateToken(path string) (string, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return createToken(path)
	}
	if err != nil {
		return "", fmt.Errorf("admin token: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("admin token: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("admin token: %s can be read by others (%v): chmod 600 it, and delete it for a new token if somebody may have", path, info.Mode().Perm())
	}
	token := strings.TrimSpace(string(b))
	if len(token) < minAdminToken || len(token) > maxAdminToken || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("admin token: %s does not hold one: delete it for a new token", path)
	}
	return token, nil
}

// createToken writes the file in one step: a crash leaves none or a whole one.
func createToken(path string) (token string, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("admin token: %w", err)
		}
	}()
	token = rand.Text() + rand.Text()
	f, err := os.CreateTemp(filepath.Dir(path), ".admin-token-*") // 0600
	if err != nil {
		return "", err
	}
	defer func() { _ = os.Remove(f.Name()) }() // nothing is left once it is renamed
	_, err = f.WriteString(token + "\n")
	if err == nil {
		err = f.Sync()
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return "", err
	}
	return token, os.Rename(f.Name(), path)
}
