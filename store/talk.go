package store

import (
	"fmt"
	"time"
)

func (o *putUser) applyDatabase(t *transaction, at time.Time) (Result, []Event, error) {
	u := o.User
	if u.DisplayName == "" {
		u.DisplayName = u.ID
	}
	n, err := t.exec(`INSERT INTO users (id, display_name, password_hash, admin, created) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT DO NOTHING`, u.ID, u.DisplayName, u.PasswordHash, u.Admin, at.UnixMilli())
	if err != nil {
		return Result{}, nil, err
	}
	if n == 0 {
		if o.IfAbsent {
			return Result{}, nil, fmt.Errorf("%w: user", ErrExists)
		}
		if _, err := t.exec("UPDATE users SET display_name = ?, password_hash = ?, admin = ? WHERE id = ?",
			u.DisplayName, u.PasswordHash, u.Admin, u.ID); err != nil {
			return Result{}, nil, err
		}
		if _, err := t.exec("UPDATE attendees SET display_name = ? WHERE actor_type = ? AND actor_id = ?",
			u.DisplayName, ActorUsers, u.ID); err != nil {
			return Result{}, nil, err
		}
	}
	return Result{}, []Event{{Kind: EventUserPut, User: u.ID}}, nil
}

func (o *removeUser) applyDatabase(t *transaction, _ time.Time) (Result, []Event, error) {
	n, err := t.exec("DELETE FROM users WHERE id = ?", o.User)
	if err != nil {
		return Result{}, nil, err
	}
	if n == 0 {
		return Result{}, nil, ErrNoSuchUser
	}
	events := []Event{{Kind: EventUserRemoved, User: o.User}}

	rows, err := t.tx.QueryContext(t.ctx, `SELECT c.token, (SELECT count(*) FROM attendees x WHERE x.conversation_id = c.id)
		FROM conversations c JOIN attendees a ON a.conversation_id = c.id
		WHERE a.actor_type = ? AND a.actor_id = ? ORDER BY c.id`, ActorUsers, o.User)
	if err != nil {
		return Result{}, nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var token string
		var attendees int
		if err := rows.Scan(&token, &attendees); err != nil {
			return Result{}, nil, err
		}
		kind := EventAttendeeRemoved
		if attendees == 1 {
			kind = EventConversationDeleted
		}
		events = append(events, Event{Kind: kind, Room: RoomID{Embedded, token}, User: o.User,
			Attendee: Attendee{ActorType: ActorUsers, ActorID: o.User}})
	}
	if err := rows.Err(); err != nil {
		return Result{}, nil, err
	}
	if _, err := t.exec(`DELETE FROM conversations WHERE id IN
		(SELECT conversation_id FROM attendees WHERE actor_type = ? AND actor_id = ?)
		AND (SELECT count(*) FROM attendees a WHERE a.conversation_id = conversations.id) = 1`, ActorUsers, o.User); err != nil {
		return Result{}, nil, err
	}
	_, err = t.exec("DELETE FROM attendees WHERE actor_type = ? AND actor_id = ?", ActorUsers, o.User)
	return Result{}, events, err
}

func (o *putLogin) applyDatabase(t *transaction, at time.Time) (Result, []Event, error) {
	l := o.Login
	if _, err := t.user(l.User); err != nil {
		return Result{}, nil, err
	}
	if _, err := t.exec("DELETE FROM logins WHERE expires <= ?", at.UnixMilli()); err != nil {
		return Result{}, nil, err
	}
	n, err := t.exec(`INSERT INTO logins (token_hash, user_id, created, expires) VALUES (?, ?, ?, ?)
		ON CONFLICT (token_hash) DO UPDATE SET expires = excluded.expires WHERE user_id = excluded.user_id`,
		l.TokenHash[:], l.User, at.UnixMilli(), l.Expires.UnixMilli())
	if err != nil {
		return Result{}, nil, err
	}
	if n == 0 {
		return Result{}, nil, fmt.Errorf("%w: login of another user", ErrExists)
	}
	// Ids rise with the log, while the clocks of those who proposed may differ.
	_, err = t.exec(`DELETE FROM logins WHERE user_id = ? AND id <=
		(SELECT id FROM logins WHERE user_id = ? ORDER BY id DESC LIMIT 1 OFFSET ?)`, l.User, l.User, MaxLogins)
	return Result{}, nil, err
}

func (o *removeLogin) applyDatabase(t *transaction, _ time.Time) (Result, []Event, error) {
	var user string
	err := t.find(fmt.Errorf("%w: login", ErrNotFound), "DELETE FROM logins WHERE token_hash = ? RETURNING user_id", []any{o.Hash[:]}, &user)
	if err != nil {
		return Result{}, nil, err
	}
	return Result{}, []Event{{Kind: EventLoginsRemoved, User: user}}, nil
}

func (o *createConversation) applyDatabase(t *transaction, at time.Time) (Result, []Event, error) {
	c := o.Conversation
	if _, err := t.user(c.Owner); err != nil {
		return Result{}, nil, err
	}
	id, err := t.insert(`INSERT INTO conversations (token, type, name, description, read_only, owner, pair, created, last_activity)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		c.Token, int(c.Type), c.Name, c.Description, c.ReadOnly, c.Owner, o.pair(), at.UnixMilli(), at.UnixMilli())
	if err != nil {
		return Result{}, nil, err
	}
	if id == 0 {
		return Result{}, nil, fmt.Errorf("%w: conversation", ErrExists)
	}
	room := RoomID{Embedded, c.Token}
	events := []Event{{Kind: EventConversationCreated, Room: room, User: c.Owner}}
	for _, a := range o.Attendees {
		if err := t.addAttendee(id, &a, at); err != nil {
			return Result{}, nil, err
		}
		events = append(events, Event{Kind: EventAttendeeAdded, Room: room, Attendee: a})
	}
	return Result{ID: id}, events, nil
}

func (o *renameConversation) applyDatabase(t *transaction, at time.Time) (Result, []Event, error) {
	n, err := t.exec("UPDATE conversations SET name = ?, last_activity = max(last_activity, ?) WHERE token = ?", o.Name, at.UnixMilli(), o.Token)
	if err != nil {
		return Result{}, nil, err
	}
	if n == 0 {
		return Result{}, nil, fmt.Errorf("%w: conversation", ErrNotFound)
	}
	return Result{}, []Event{{Kind: EventConversationChanged, Room: RoomID{Embedded, o.Token}}}, nil
}

func (o *deleteConversation) applyDatabase(t *transaction, _ time.Time) (Result, []Event, error) {
	n, err := t.exec("DELETE FROM conversations WHERE token = ?", o.Token)
	if err != nil {
		return Result{}, nil, err
	}
	if n == 0 {
		return Result{}, nil, fmt.Errorf("%w: conversation", ErrNotFound)
	}
	return Result{}, []Event{{Kind: EventConversationDeleted, Room: RoomID{Embedded, o.Token}}}, nil
}

func (o *addAttendee) applyDatabase(t *transaction, at time.Time) (Result, []Event, error) {
	id, err := t.conversation(o.Token)
	if err != nil {
		return Result{}, nil, err
	}
	a := o.Attendee
	if err := t.addAttendee(id, &a, at); err != nil {
		return Result{}, nil, err
	}
	if _, err := t.exec("UPDATE conversations SET last_activity = max(last_activity, ?) WHERE id = ?", at.UnixMilli(), id); err != nil {
		return Result{}, nil, err
	}
	return Result{ID: a.ID}, []Event{{Kind: EventAttendeeAdded, Room: RoomID{Embedded, o.Token}, Attendee: a}}, nil
}

func (o *removeAttendee) applyDatabase(t *transaction, _ time.Time) (Result, []Event, error) {
	id, err := t.conversation(o.Token)
	if err != nil {
		return Result{}, nil, err
	}
	n, err := t.exec("DELETE FROM attendees WHERE conversation_id = ? AND actor_type = ? AND actor_id = ?", id, o.ActorType, o.ActorID)
	if err != nil {
		return Result{}, nil, err
	}
	if n == 0 {
		return Result{}, nil, fmt.Errorf("%w: attendee", ErrNotFound)
	}
	return Result{}, []Event{{Kind: EventAttendeeRemoved, Room: RoomID{Embedded, o.Token},
		Attendee: Attendee{ActorType: o.ActorType, ActorID: o.ActorID}}}, nil
}

// addAttendee writes an attendee and fills in what the command leaves open.
func (t *transaction) addAttendee(conversation int64, a *Attendee, at time.Time) error {
	if a.ActorType == ActorUsers {
		name, err := t.user(a.ActorID)
		if err != nil {
			return err
		}
		if a.DisplayName == "" {
			a.DisplayName = name
		}
	}
	id, err := t.insert(`INSERT INTO attendees (conversation_id, actor_type, actor_id, display_name, participant_type, permissions, added)
		VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		conversation, a.ActorType, a.ActorID, a.DisplayName, int(a.ParticipantType), a.Permissions, at.UnixMilli())
	if err != nil {
		return err
	}
	if id == 0 {
		return fmt.Errorf("%w: attendee", ErrExists)
	}
	a.ID, a.Added = id, at
	return nil
}
