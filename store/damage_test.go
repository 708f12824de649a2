package store

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A database that is no more says which files to remove, and they come back.
func TestDamagedDatabase(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"garbage":   func(b []byte) []byte { return bytes.Repeat([]byte("garbage!"), len(b)/8) },
		"no header": func(b []byte) []byte { return append(make([]byte, 100), b[100:]...) },
		"truncated": func(b []byte) []byte { return b[:len(b)/2+100] },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s, err := Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			create := NewPutUser(t0, testUser("alice"))
			if _, _, err := s.Apply(1, create); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(dir, dbName)
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, damage(b), 0o600); err != nil {
				t.Fatal(err)
			}
			s, err = Open(dir)
			if err == nil { // it shows when it is used
				_, _, err = s.Apply(2, NewPutUser(t0, testUser("bob")))
				if closeErr := s.Close(); closeErr != nil {
					t.Log(closeErr)
				}
			}
			if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "remove "+file) {
				t.Fatalf("%v", err)
			}
			for _, suffix := range []string{"", "-wal", "-shm"} {
				if err := os.Remove(file + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
					t.Fatal(err)
				}
			}
			s = open(t, dir)
			if _, _, err := s.Apply(1, create); err != nil {
				t.Errorf("after the log is applied again: %v", err)
			}
		})
	}
}
