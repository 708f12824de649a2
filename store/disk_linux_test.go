package store

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"
)

// On a full disk the node stops with what it has confirmed.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=512k"); err != nil {
		t.Skip("no small disk to be had: ", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	index := uint64(0)
	for err == nil && index < 100_000 {
		index++
		c := testConversation(strings.Repeat("x", 8)+time.Unix(int64(index), 0).UTC().Format("150405"), "alice")
		c.Description = strings.Repeat("y", 400)
		_, _, err = s.Apply(index, NewCreateConversation(t0, c, testAttendee("alice")))
	}
	if !errors.Is(err, ErrDiskFull) {
		t.Errorf("entry %d: %v", index, err)
	}
	t.Log(err)
	if err := s.Close(); err != nil {
		t.Log(err) // what is left in the WAL may not fit
	}
}
