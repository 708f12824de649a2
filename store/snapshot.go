package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"modernc.org/sqlite"
)

// A snapshot is, in big-endian order:
//
//	8 bytes  magic
//	2 bytes  format version
//	8 bytes  length of the memory part, which follows as JSON, see image
//	8 bytes  length of the homes, which follow, see homesimage.go
//	8 bytes  length of the SQLite database, which follows
//	32 bytes SHA-256 of all that
const (
	snapshotMagic   = "talkdsnp"
	snapshotVersion = 1
	// copyPages is how many pages of the database are copied before Release
	// is looked for.
	copyPages = 4096
)

// Snapshot is the state at one index: a copy of the memory, and a read
// transaction that keeps that version of the database. Commands go on being
// applied while it is written.
type Snapshot struct {
	index uint64
	mem   memory
	db    *DB

	ctx    context.Context // ends with Release
	cancel context.CancelFunc

	mu     sync.Mutex // guards handle and conn; Persist holds it while it copies
	handle *sql.DB
	conn   *sql.Conn
}

// Capture takes a snapshot. It must be released.
func (s *State) Capture() (*Snapshot, error) {
	s.applying.Lock()
	defer s.applying.Unlock()
	if s.db.closed {
		return nil, ErrClosed
	}
	snap := &Snapshot{db: s.db}
	snap.ctx, snap.cancel = context.WithCancel(context.Background())
	if err := snap.pin(); err != nil {
		snap.Release()
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	s.mu.Lock()
	snap.index, snap.mem = s.applied, s.mem.clone()
	s.mu.Unlock()
	return snap, nil
}

// Snapshot captures and writes in one go.
func (s *State) Snapshot(w io.Writer) error {
	snap, err := s.Capture()
	if err != nil {
		return err
	}
	defer snap.Release()
	return snap.Persist(w)
}

// pin opens a connection of its own and begins the read transaction with the
// first read: SQLite then shows it this version until the end.
func (s *Snapshot) pin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	if s.handle, err = openReader(s.db.path(), 1); err != nil {
		return err
	}
	s.db.snapMu.Lock()
	s.db.snapshots[s] = struct{}{}
	s.db.snapMu.Unlock()
	if s.conn, err = s.handle.Conn(s.ctx); err != nil {
		return err
	}
	if _, err := s.conn.ExecContext(s.ctx, "BEGIN"); err != nil {
		return err
	}
	var applied int64
	return s.conn.QueryRowContext(s.ctx, "SELECT value FROM meta WHERE key = 'applied'").Scan(&applied)
}

// Index is that of the last entry in the snapshot.
func (s *Snapshot) Index() uint64 { return s.index }

// Release ends a Persist that still copies the database, and lets go of it.
// It may be called more than once.
func (s *Snapshot) Release() {
	s.cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unpinLocked()
}

func (s *Snapshot) unpinLocked() {
	if s.handle == nil {
		return
	}
	// Nothing was written; the errors of closing a reader have no consequence.
	if s.conn != nil {
		_, _ = s.conn.ExecContext(context.Background(), "ROLLBACK")
		_ = s.conn.Close()
	}
	_ = s.handle.Close()
	s.handle, s.conn = nil, nil
	s.db.snapMu.Lock()
	delete(s.db.snapshots, s)
	s.db.snapMu.Unlock()
}

// Persist writes the snapshot. The database is copied into a file of its own
// first, and let go of before a slow writer can hold it.
func (s *Snapshot) Persist(w io.Writer) error {
	file, err := s.copyDatabase()
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	defer os.Remove(file)
	if err := s.write(w, file); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	return nil
}

func (s *Snapshot) copyDatabase() (file string, err error) {
	f, err := os.CreateTemp(s.db.dir, tempPattern) // mode 0600
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if err := f.Close(); err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil || s.ctx.Err() != nil {
		return "", ErrSnapshotReleased
	}
	if err := s.conn.Raw(func(driver any) error { return s.backup(driver, f.Name()) }); err != nil {
		return "", err
	}
	s.unpinLocked()
	return f.Name(), nil
}

// backup copies page by page. The connection is inside its read transaction,
// so all pages are of one version whatever is written meanwhile.
func (s *Snapshot) backup(driver any, file string) error {
	source, ok := driver.(interface {
		NewBackup(string) (*sqlite.Backup, error)
	})
	if !ok {
		return errors.New("the SQLite driver cannot copy a database")
	}
	b, err := source.NewBackup(dsn(file, "synchronous(OFF)"))
	if err != nil {
		return err
	}
	for more := true; more && err == nil; {
		if s.ctx.Err() != nil {
			err = ErrSnapshotReleased
			break
		}
		more, err = b.Step(copyPages)
	}
	return errors.Join(err, b.Finish())
}

func (s *Snapshot) write(w io.Writer, file string) error {
	db, err := os.Open(file)
	if err != nil {
		return err
	}
	defer db.Close()
	info, err := db.Stat()
	if err != nil {
		return err
	}
	mem, err := json.Marshal(newImage(s.index, s.mem))
	if err != nil {
		return err
	}
	sum := sha256.New()
	out := io.MultiWriter(w, sum)
	if _, err := out.Write(append([]byte(snapshotMagic), 0, snapshotVersion)); err != nil {
		return err
	}
	for _, part := range [][]byte{mem, s.mem.homes.encode()} {
		if _, err := out.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part)))); err != nil {
			return err
		}
		if _, err := out.Write(part); err != nil {
			return err
		}
	}
	if _, err := out.Write(binary.BigEndian.AppendUint64(nil, uint64(info.Size()))); err != nil {
		return err
	}
	if n, err := io.Copy(out, db); err != nil || n != info.Size() {
		return errors.Join(err, fmt.Errorf("copied %d of %d bytes of the database", n, info.Size()))
	}
	_, err = w.Write(sum.Sum(nil))
	return err
}
