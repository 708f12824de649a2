package cluster

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/raft"
)

// writeLog makes a log of many pages.
func writeLog(t *testing.T, dir string) {
	t.Helper()
	l, err := openLog(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(50) {
		var logs []*raft.Log
		for j := range uint64(20) {
			logs = append(logs, &raft.Log{Index: 20*i + j + 1, Term: 1, Data: bytes.Repeat([]byte{byte(i)}, 500)})
		}
		if err := l.StoreLogs(logs); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.SetUint64([]byte("CurrentTerm"), 1); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// A damaged log neither crashes the process nor goes unnoticed once it is read.
func TestDamagedLog(t *testing.T) {
	page := os.Getpagesize()
	fill := func(b []byte, from, to int) []byte {
		copy(b[from:to], bytes.Repeat([]byte("garbage!"), (to-from)/8+1))
		return b
	}
	for name, damage := range map[string]func([]byte) []byte{
		"garbage":                  func(b []byte) []byte { return fill(b, 0, len(b)) },
		"garbage behind the heads": func(b []byte) []byte { return fill(b, 2*page, len(b)) },
		"garbage at the end":       func(b []byte) []byte { return fill(b, len(b)/2, len(b)) },
		"zeros":                    func(b []byte) []byte { return make([]byte, len(b)) },
		"zeros behind the heads":   func(b []byte) []byte { clear(b[2*page:]); return b },
		"a byte":                   func(b []byte) []byte { return b[:1] },
		"a page":                   func(b []byte) []byte { return b[:page] },
		"the heads":                func(b []byte) []byte { return b[:2*page] },
		"half":                     func(b []byte) []byte { return b[:len(b)/2] },
		"half a page less":         func(b []byte) []byte { return b[:3*page+page/2] },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			writeLog(t, dir)
			file := filepath.Join(dir, fileLog)
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, damage(b), 0o600); err != nil {
				t.Fatal(err)
			}
			l, err := openLog(dir)
			if err == nil {
				failed := make(chan error, 4096)
				l.fail = func(err error) { failed <- err }
				done := make(chan struct{})
				go func() { // as Raft does
					defer close(done)
					for i := range uint64(1000) {
						if l.GetLog(i+1, new(raft.Log)) != nil {
							failed <- errors.New("an entry is missing")
						}
					}
				}()
				<-done
				select {
				case err = <-failed:
				default:
					t.Fatal("nobody noticed")
				}
				_ = l.Close() // of a damaged file
			}
			if !errors.Is(err, ErrLogDamaged) || !strings.Contains(err.Error(), file) {
				t.Fatalf("%v", err)
			}
			t.Log(err)
		})
	}
}

// brokenFile fails to write.
type brokenFile struct {
	logFile
	err error
}

func (b brokenFile) StoreLogs([]*raft.Log) error    { return b.err }
func (b brokenFile) SetUint64([]byte, uint64) error { return b.err }

// What cannot be written stops the node; the goroutine that Raft would panic on
// ends, and nothing else.
func TestUnwritableLog(t *testing.T) {
	for name, c := range map[string]struct{ err, want error }{
		"full":      {&os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}, ErrDiskFull},
		"quota":     {syscall.EDQUOT, ErrDiskFull},
		"read-only": {&os.PathError{Op: "write", Path: "x", Err: syscall.EROFS}, syscall.EROFS},
		"failing":   {&os.PathError{Op: "sync", Path: "x", Err: syscall.EIO}, syscall.EIO},
	} {
		t.Run(name, func(t *testing.T) {
			l := &logStore{file: brokenFile{err: c.err}, path: fileLog}
			var failed []error
			l.fail = func(err error) { failed = append(failed, err) }
			if err := l.StoreLog(new(raft.Log)); !errors.Is(err, c.want) {
				t.Errorf("an entry: %v", err)
			}
			survived := false
			done := make(chan struct{})
			go func() {
				defer close(done)
				_ = l.SetUint64([]byte("CurrentTerm"), 2)
				survived = true
			}()
			<-done
			if survived || len(failed) != 2 || !errors.Is(failed[1], c.want) || !errors.Is(*l.broken.Load(), c.want) {
				t.Errorf("survived %t, %v", survived, failed)
			}
		})
	}
}
