package store

import (
	"errors"
	"fmt"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// ErrDiskFull means that the database could not be written. Nothing that was
// confirmed is lost: it is in the log, and applied again.
var ErrDiskFull = errors.New("the disk is full: free some space and start the node again")

// explain says what is wrong with the database, and the way out. A database
// that is missing is made again from the snapshot and the log of cluster.
func (d *DB) explain(err error) error {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code() & 0xff { // the rest says more about the place
	case sqlite3.SQLITE_FULL:
		return fmt.Errorf("%w: %s", ErrDiskFull, d.path())
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return fmt.Errorf("%w: remove %s, %[2]s-wal and %[2]s-shm and start the node again, it brings them back from the log: %w", ErrDamaged, d.path(), err)
	}
	return err
}
