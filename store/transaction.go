package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// databaseOperation changes the database, or refuses. What it has written
// before it refuses is taken back.
type databaseOperation interface {
	operation
	applyDatabase(t *transaction, at time.Time) (Result, []Event, error)
}

// transaction is the one transaction of a batch. It begins with the first
// command that needs it.
type transaction struct {
	ctx  context.Context //nolint:containedctx // lives as long as the call that made it
	db   *DB
	tx   *sql.Tx
	last uint64
}

func (d *DB) transaction(ctx context.Context) *transaction { return &transaction{ctx: ctx, db: d} }

// apply runs one operation. What the database holds from before a crash is
// left out.
func (t *transaction) apply(index uint64, op databaseOperation, at time.Time) (Result, []Event, error) {
	if index <= t.db.applied {
		return Result{}, nil, nil
	}
	if t.tx == nil {
		tx, err := t.db.write.BeginTx(t.ctx, nil)
		if err != nil {
			return Result{}, nil, err
		}
		t.tx = tx
	}
	t.last = index
	if err := t.control("SAVEPOINT command"); err != nil {
		return Result{}, nil, err
	}
	r, events, err := op.applyDatabase(t, at)
	switch {
	case err == nil:
		return r, events, t.control("RELEASE command")
	case isRefusal(err):
		return Result{}, nil, errors.Join(err, t.control("ROLLBACK TO command"), t.control("RELEASE command"))
	}
	return Result{}, nil, err
}

// commit makes the batch durable together with its index.
func (t *transaction) commit() error {
	if t.tx == nil {
		return nil
	}
	if _, err := t.exec("UPDATE meta SET value = ? WHERE key = 'applied'", int64(t.last)); err != nil {
		return err
	}
	tx := t.tx
	t.tx = nil
	if err := tx.Commit(); err != nil {
		return err
	}
	t.db.applied = t.last
	return nil
}

// rollback does nothing after commit.
func (t *transaction) rollback() {
	if t.tx != nil {
		t.tx.Rollback() //nolint:errcheck // the node stops with the error that led here
		t.tx = nil
	}
}

func (t *transaction) control(stmt string) error {
	_, err := t.tx.ExecContext(t.ctx, stmt)
	return err
}

// exec tells how many rows changed.
func (t *transaction) exec(stmt string, args ...any) (int64, error) {
	r, err := t.tx.ExecContext(t.ctx, stmt, args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// insert tells the id of the new row; 0 if it is there already (the statement
// ends with ON CONFLICT DO NOTHING).
func (t *transaction) insert(stmt string, args ...any) (int64, error) {
	r, err := t.tx.ExecContext(t.ctx, stmt, args...)
	if err != nil {
		return 0, err
	}
	if n, err := r.RowsAffected(); err != nil || n == 0 {
		return 0, err
	}
	return r.LastInsertId()
}

// find scans one row; no row is the error given.
func (t *transaction) find(missing error, query string, args []any, dest ...any) error {
	err := t.tx.QueryRowContext(t.ctx, query, args...).Scan(dest...)
	if errors.Is(err, sql.ErrNoRows) {
		return missing
	}
	return err
}

// conversation finds the id that belongs to a token.
func (t *transaction) conversation(token string) (id int64, err error) {
	err = t.find(fmt.Errorf("%w: conversation", ErrNotFound), "SELECT id FROM conversations WHERE token = ?", []any{token}, &id)
	return id, err
}

// user finds the display name of an account.
func (t *transaction) user(id string) (displayName string, err error) {
	err = t.find(ErrNoSuchUser, "SELECT display_name FROM users WHERE id = ?", []any{id}, &displayName)
	return displayName, err
}
