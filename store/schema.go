package store

import (
	"context"
	"database/sql"
	"fmt"
)

// applicationID marks the file as ours ("tlkd"), see PRAGMA application_id.
const applicationID = 0x746c6b64

// migrations are the statements that lead from one schema version (PRAGMA
// user_version) to the next. They run when the file is opened, so they must
// depend on what is in it only: the same on every node. Times are Unix
// milliseconds.
func migrations() []string {
	return []string{`
CREATE TABLE meta (
	key   TEXT PRIMARY KEY NOT NULL,
	value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO meta (key, value) VALUES ('applied', 0);

CREATE TABLE users (
	id            TEXT PRIMARY KEY NOT NULL,
	display_name  TEXT NOT NULL,
	password_hash TEXT NOT NULL,
	admin         INTEGER NOT NULL,
	created       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE logins (
	id         INTEGER PRIMARY KEY AUTOINCREMENT,
	token_hash BLOB NOT NULL UNIQUE,
	user_id    TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
	created    INTEGER NOT NULL,
	expires    INTEGER NOT NULL
) STRICT;
CREATE INDEX logins_user ON logins (user_id, id);
CREATE INDEX logins_expires ON logins (expires);

CREATE TABLE conversations (
	id            INTEGER PRIMARY KEY AUTOINCREMENT,
	token         TEXT NOT NULL UNIQUE,
	type          INTEGER NOT NULL,
	name          TEXT NOT NULL,
	description   TEXT NOT NULL,
	read_only     INTEGER NOT NULL,
	owner         TEXT NOT NULL,
	pair          TEXT UNIQUE,
	created       INTEGER NOT NULL,
	last_activity INTEGER NOT NULL
) STRICT;

CREATE TABLE attendees (
	id               INTEGER PRIMARY KEY AUTOINCREMENT,
	conversation_id  INTEGER NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
	actor_type       TEXT NOT NULL,
	actor_id         TEXT NOT NULL,
	display_name     TEXT NOT NULL,
	participant_type INTEGER NOT NULL,
	permissions      INTEGER NOT NULL,
	added            INTEGER NOT NULL,
	UNIQUE (conversation_id, actor_type, actor_id)
) STRICT;
CREATE INDEX attendees_actor ON attendees (actor_type, actor_id);
`}
}

// migrate brings the schema up to this binary's.
func migrate(ctx context.Context, db *sql.DB) error {
	var id, version int
	if err := db.QueryRowContext(ctx, "PRAGMA application_id").Scan(&id); err != nil {
		return err
	}
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	all := migrations()
	switch {
	case version > len(all):
		return fmt.Errorf("%w: schema version %d, this binary knows up to %d; upgrade this node", ErrDamaged, version, len(all))
	case version > 0 && id != applicationID:
		return fmt.Errorf("%w: not a database of talkd", ErrDamaged)
	}
	for version < len(all) {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		// PRAGMA takes no parameters; both are part of the transaction.
		stmt := fmt.Sprintf("%s; PRAGMA application_id = %d; PRAGMA user_version = %d", all[version], applicationID, version+1)
		if _, err := tx.ExecContext(ctx, stmt); err != nil {
			tx.Rollback() //nolint:errcheck // the first error is the one that tells
			return fmt.Errorf("schema version %d: %w", version+1, err)
		}
		if err := tx.Commit(); err != nil {
			return err
		}
		version++
	}
	return nil
}
