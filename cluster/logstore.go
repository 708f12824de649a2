package cluster

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"syscall"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

const fileLog = "raft.db"

// logFile is what logStore keeps the log in.
type logFile interface {
	raft.LogStore
	raft.StableStore
	io.Closer
}

// logStore is Raft's log and terms on disk. What cannot be read or written stops
// the node with one sentence: Raft itself would go on without a log, or panic.
// The file is mapped, so a damaged one shows as a panic or a fault too.
type logStore struct {
	file   logFile
	path   string
	fail   func(error) // stops the node
	broken atomic.Pointer[error]
}

var _ logFile = (*logStore)(nil)

// openLog opens the log. Its lock is the log's own, beside the one that the node
// takes on the data directory.
func openLog(dir string) (*logStore, error) {
	l := &logStore{path: filepath.Join(dir, fileLog)}
	err := guarded(func() error {
		if err := checkLog(l.path); err != nil {
			return err
		}
		file, err := raftboltdb.New(raftboltdb.Options{Path: l.path, BoltOptions: &bbolt.Options{Timeout: lockTimeout}})
		if err != nil {
			return err
		}
		l.file = file
		return nil
	})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("%w: %s", ErrLocked, dir)
	}
	if err != nil {
		return nil, l.explain(err)
	}
	return l, nil
}

// checkLog looks whether the file is as long as it says: reading beyond its end
// is a fault that may come at any time later.
func checkLog(path string) error {
	info, err := os.Stat(path)
	if err != nil || info.Size() == 0 {
		return nil //nolint:nilerr // it is made, or opening it says more
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: lockTimeout})
	if err != nil {
		return err
	}
	err = db.View(func(tx *bbolt.Tx) error {
		if tx.Size() > info.Size() {
			return fmt.Errorf("%w: %d bytes of %d are there", errDamaged, info.Size(), tx.Size())
		}
		return nil
	})
	return errors.Join(err, db.Close())
}

var errDamaged = errors.New("it cannot be read")

// guarded turns a panic or a fault into an error.
func guarded(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%w: %v", errDamaged, v)
		}
	}()
	return f()
}

// explain says what is wrong, and the way out.
func (l *logStore) explain(err error) error {
	var path *os.PathError
	var number syscall.Errno
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: %s", ErrDiskFull, l.path)
	case errors.Is(err, errDamaged), !errors.As(err, &path) && !errors.As(err, &number):
		return fmt.Errorf("%w: %s: %w", ErrLogDamaged, l.path, err)
	}
	return fmt.Errorf("the Raft log cannot be used: %w", err)
}

// do makes one call for a goroutine of Raft. Where that would panic on an error
// it ends instead, as if it had panicked alone: it must not go on, and the rest
// of the process is to stop in order.
func (l *logStore) do(panics bool, f func() error) error {
	err := guarded(f)
	if err == nil || errors.Is(err, raft.ErrLogNotFound) || errors.Is(err, raftboltdb.ErrKeyNotFound) {
		return err
	}
	err = l.explain(err)
	l.broken.CompareAndSwap(nil, &err)
	l.fail(err)
	if panics {
		runtime.Goexit()
	}
	return err
}

// FirstIndex is that of the first entry.
func (l *logStore) FirstIndex() (index uint64, err error) {
	err = l.do(false, func() error { index, err = l.file.FirstIndex(); return err })
	return index, err
}

// LastIndex is that of the last entry.
func (l *logStore) LastIndex() (index uint64, err error) {
	err = l.do(false, func() error { index, err = l.file.LastIndex(); return err })
	return index, err
}

// GetLog reads an entry.
func (l *logStore) GetLog(index uint64, log *raft.Log) error {
	return l.do(true, func() error { return l.file.GetLog(index, log) })
}

// StoreLog writes an entry.
func (l *logStore) StoreLog(log *raft.Log) error { return l.StoreLogs([]*raft.Log{log}) }

// StoreLogs writes entries.
func (l *logStore) StoreLogs(logs []*raft.Log) error {
	return l.do(false, func() error { return l.file.StoreLogs(logs) })
}

// DeleteRange forgets entries.
func (l *logStore) DeleteRange(first, last uint64) error {
	return l.do(false, func() error { return l.file.DeleteRange(first, last) })
}

// Set writes a value.
func (l *logStore) Set(key, value []byte) error {
	return l.do(true, func() error { return l.file.Set(key, value) })
}

// Get reads a value.
func (l *logStore) Get(key []byte) (value []byte, err error) {
	err = l.do(true, func() error { value, err = l.file.Get(key); return err })
	return value, err
}

// SetUint64 writes a number, such as the term.
func (l *logStore) SetUint64(key []byte, value uint64) error {
	return l.do(true, func() error { return l.file.SetUint64(key, value) })
}

// GetUint64 reads a number.
func (l *logStore) GetUint64(key []byte) (value uint64, err error) {
	err = l.do(true, func() error { value, err = l.file.GetUint64(key); return err })
	return value, err
}

// Close closes the file.
func (l *logStore) Close() error { return guarded(l.file.Close) }
