package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"

	_ "modernc.org/sqlite" // the driver
)

const (
	dbName = "store.db"
	// tempPattern names files that are of no use after a crash.
	tempPattern = dbName + ".tmp-*"
	// busyTimeout is how long, in milliseconds, a connection waits for a lock
	// that another process (a look into the file, a backup) holds.
	busyTimeout = 10_000
	// readers bounds the connections that read at the same time.
	readers = 8
)

// DB is the part of the state that is in SQLite. It is written by Apply only
// and read by any goroutine.
type DB struct {
	dir string

	// Guarded by State.applying.
	write   *sql.DB // one connection
	applied uint64  // index of the last entry in the database
	closed  bool

	mu   sync.RWMutex // guards read; held during a query, so that Restore can swap the file
	read *sql.DB

	snapMu    sync.Mutex             // guards snapshots
	snapshots map[*Snapshot]struct{} // those with a connection to the file
}

func openDB(dir string) (*DB, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	stale, err := filepath.Glob(filepath.Join(globEscape(dir), tempPattern))
	if err != nil {
		return nil, err
	}
	for _, f := range stale {
		if err := os.Remove(f); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	d := &DB{dir: dir, snapshots: map[*Snapshot]struct{}{}}
	if err := d.open(context.Background()); err != nil {
		return nil, fmt.Errorf("%s: %w", d.path(), d.explain(err))
	}
	return d, nil
}

func (d *DB) path() string { return filepath.Join(d.dir, dbName) }

// open makes the handles. The caller holds mu, or nobody else knows d yet.
func (d *DB) open(ctx context.Context) error {
	// SQLite gives its side files the mode of the database.
	f, err := os.OpenFile(d.path(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	err = f.Chmod(0o600)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	write, applied, err := openWriter(ctx, d.path())
	if err != nil {
		return err
	}
	read, err := openReader(d.path(), readers)
	if err != nil {
		return errors.Join(err, write.Close())
	}
	d.write, d.read, d.applied = write, read, applied
	return nil
}

// openWriter opens the one connection that writes, brings the schema up to
// date and reads the applied index.
//
// synchronous=NORMAL may lose the last transactions in a power failure, but
// never half of one. That is enough: the log of cluster is the durable one,
// and the applied index goes back with what was lost.
func openWriter(ctx context.Context, path string) (_ *sql.DB, applied uint64, err error) {
	db, err := sql.Open("sqlite", dsn(path, "journal_mode(WAL)", "synchronous(NORMAL)", "foreign_keys(1)")+"&_txlock=immediate")
	if err != nil {
		return nil, 0, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, db.Close())
		}
	}()
	db.SetMaxOpenConns(1)
	if err := migrate(ctx, db); err != nil {
		return nil, 0, err
	}
	var n int64
	if err := db.QueryRowContext(ctx, "SELECT value FROM meta WHERE key = 'applied'").Scan(&n); err != nil {
		return nil, 0, fmt.Errorf("%w: applied index: %w", ErrDamaged, err)
	}
	if n < 0 {
		return nil, 0, fmt.Errorf("%w: applied index %d", ErrDamaged, n)
	}
	return db, uint64(n), nil
}

func openReader(path string, connections int) (*sql.DB, error) {
	db, err := sql.Open("sqlite", dsn(path, "query_only(1)"))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

func dsn(path string, pragmas ...string) string {
	q := url.Values{"_pragma": append([]string{fmt.Sprintf("busy_timeout(%d)", busyTimeout)}, pragmas...)}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String()
}

// globEscape quotes what Glob would take for a pattern.
func globEscape(path string) string {
	var b []byte
	for _, c := range []byte(path) {
		if c == '*' || c == '?' || c == '[' || c == '\\' {
			b = append(b, '\\')
		}
		b = append(b, c)
	}
	return string(b)
}

// close closes the handles. The caller holds State.applying.
func (d *DB) close() error {
	d.closed = true
	d.releaseSnapshots()
	d.mu.Lock()
	defer d.mu.Unlock()
	// The writer goes last: closing the last connection folds the WAL in.
	return errors.Join(d.read.Close(), d.write.Close())
}

// replace puts a complete database file in the place of the one in use. The
// caller holds State.applying. SQLite must not have a file open that is
// renamed, so nothing may be connected to it meanwhile.
func (d *DB) replace(ctx context.Context, file string) error {
	d.releaseSnapshots()
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := errors.Join(d.read.Close(), d.write.Close()); err != nil {
		return err
	}
	// Closing has folded the WAL in and removed it; one that were left would
	// be taken for the new file's.
	for _, suffix := range []string{"-wal", "-shm"} {
		if err := os.Remove(d.path() + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if err := os.Rename(file, d.path()); err != nil {
		// The old file is as good as before.
		return errors.Join(err, d.open(ctx))
	}
	if err := syncDir(d.dir); err != nil {
		return err
	}
	return d.open(ctx)
}

func (d *DB) releaseSnapshots() {
	d.snapMu.Lock()
	live := make([]*Snapshot, 0, len(d.snapshots))
	for s := range d.snapshots {
		live = append(live, s)
	}
	d.snapMu.Unlock()
	for _, s := range live {
		s.Release()
	}
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
