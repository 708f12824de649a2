package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// MaxUsersListed bounds the answer of Users.
const MaxUsersListed = 1000

const (
	userColumns         = "u.id, u.display_name, u.password_hash, u.admin, u.created"
	conversationColumns = "c.id, c.token, c.type, c.name, c.description, c.read_only, c.owner, c.created, c.last_activity"
	attendeeColumns     = "a.id, a.actor_type, a.actor_id, a.display_name, a.participant_type, a.permissions, a.added"
)

// UserByName is the account with this id; ErrNotFound if there is none.
func (d *DB) UserByName(ctx context.Context, id string) (User, error) {
	return one(ctx, d, scanUser, "SELECT "+userColumns+" FROM users u WHERE u.id = ?", id)
}

// Users are the accounts whose id or display name contains the text (all for
// the empty one), ordered by id, at most limit and MaxUsersListed.
func (d *DB) Users(ctx context.Context, search string, limit int) ([]User, error) {
	return list(ctx, d, scanUser, "SELECT "+userColumns+` FROM users u
		WHERE instr(lower(u.id), lower(?1)) > 0 OR instr(lower(u.display_name), lower(?1)) > 0 ORDER BY u.id LIMIT ?2`,
		search, max(0, min(limit, MaxUsersListed)))
}

// UserByLogin is the account that a login token belongs to; ErrNotFound if
// there is none or it expired before now.
func (d *DB) UserByLogin(ctx context.Context, hash TokenHash, now time.Time) (User, error) {
	return one(ctx, d, scanUser, "SELECT "+userColumns+` FROM users u JOIN logins l ON l.user_id = u.id
		WHERE l.token_hash = ? AND l.expires > ?`, hash[:], now.UnixMilli())
}

// ConversationByToken is the conversation with this token; ErrNotFound if
// there is none.
func (d *DB) ConversationByToken(ctx context.Context, token string) (Conversation, error) {
	return one(ctx, d, scanConversation, "SELECT "+conversationColumns+" FROM conversations c WHERE c.token = ?", token)
}

// ConversationsOf are the conversations a user attends, the most active first.
func (d *DB) ConversationsOf(ctx context.Context, user string) ([]Conversation, error) {
	return list(ctx, d, scanConversation, "SELECT "+conversationColumns+` FROM conversations c
		JOIN attendees a ON a.conversation_id = c.id WHERE a.actor_type = ? AND a.actor_id = ?
		ORDER BY c.last_activity DESC, c.id DESC`, ActorUsers, user)
}

// Attendees are those who belong to a conversation, in the order they came.
// They are none for a conversation that is not there.
func (d *DB) Attendees(ctx context.Context, token string) ([]Attendee, error) {
	return list(ctx, d, scanAttendee, "SELECT "+attendeeColumns+` FROM attendees a
		JOIN conversations c ON c.id = a.conversation_id WHERE c.token = ? ORDER BY a.id`, token)
}

// Attendee is one of those who belong to a conversation; ErrNotFound if there
// is none.
func (d *DB) Attendee(ctx context.Context, token, actorType, actorID string) (Attendee, error) {
	return one(ctx, d, scanAttendee, "SELECT "+attendeeColumns+` FROM attendees a
		JOIN conversations c ON c.id = a.conversation_id WHERE c.token = ? AND a.actor_type = ? AND a.actor_id = ?`,
		token, actorType, actorID)
}

func scanUser(scan func(...any) error) (User, error) {
	var u User
	var created int64
	err := scan(&u.ID, &u.DisplayName, &u.PasswordHash, &u.Admin, &created)
	u.Created = readTime(created)
	return u, err
}

func scanConversation(scan func(...any) error) (Conversation, error) {
	var c Conversation
	var created, active int64
	err := scan(&c.ID, &c.Token, &c.Type, &c.Name, &c.Description, &c.ReadOnly, &c.Owner, &created, &active)
	c.Created, c.LastActivity = readTime(created), readTime(active)
	return c, err
}

func scanAttendee(scan func(...any) error) (Attendee, error) {
	var a Attendee
	var added int64
	err := scan(&a.ID, &a.ActorType, &a.ActorID, &a.DisplayName, &a.ParticipantType, &a.Permissions, &added)
	a.Added = readTime(added)
	return a, err
}

func readTime(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// one reads the one row of a query.
func one[T any](ctx context.Context, d *DB, scan func(func(...any) error) (T, error), query string, args ...any) (T, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	v, err := scan(d.read.QueryRowContext(ctx, query, args...).Scan)
	if err != nil {
		var zero T
		if errors.Is(err, sql.ErrNoRows) {
			return zero, ErrNotFound
		}
		return zero, fmt.Errorf("read database: %w", err)
	}
	return v, nil
}

// list reads all rows of a query.
func list[T any](ctx context.Context, d *DB, scan func(func(...any) error) (T, error), query string, args ...any) ([]T, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	rows, err := d.read.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read database: %w", err)
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		v, err := scan(rows.Scan)
		if err != nil {
			return nil, fmt.Errorf("read database: %w", err)
		}
		all = append(all, v)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read database: %w", err)
	}
	return all, nil
}
