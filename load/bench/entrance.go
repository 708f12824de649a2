package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/talkd/talkd/load"
	"github.com/talkd/talkd/signaling/wire"
)

// entrance is the way by which people come: as guests, or as visitors.
type entrance interface {
	// open makes a room.
	open(ctx context.Context, name string) (room string, err error)
	shut(ctx context.Context, room string) error
	// door is that of one person.
	door(room, name string) door
	close(ctx context.Context) error
}

// door is a person's way into a room, at any node. load.Door is one.
type door interface {
	// Seat tells who the person is, and under which id the backend knows the seat.
	Seat(ctx context.Context, node string) (load.Credentials, wire.RoomSessionID, error)
	// Home is the base URL of the node where people of the room are best served.
	Home(ctx context.Context, node string) (string, error)
	// Call tells that the seat is in the call.
	Call(ctx context.Context, node string, seat wire.RoomSessionID, what load.Sending) error
}

// enters makes the entrance.
func (c Config) enters(ctx context.Context) (entrance, error) {
	if c.User == "" {
		return &visitors{ask: c.Ticket}, nil
	}
	host, err := load.LogIn(ctx, c.Nodes[0], c.User, c.Password)
	return guests{host}, err
}

// guests are people of public conversations, which an account of the embedded backend
// makes.
type guests struct{ host *load.Host }

func (g guests) open(ctx context.Context, name string) (string, error) {
	room, err := g.host.Open(ctx, name)
	if err != nil {
		return "", fmt.Errorf("making a conversation: %w", err)
	}
	return room, nil
}

func (g guests) shut(ctx context.Context, room string) error { return g.host.Shut(ctx, room) }
func (g guests) door(room, name string) door                 { return load.NewDoor(room, name) }
func (g guests) close(ctx context.Context) error             { return g.host.LogOut(ctx) }

// Ticket lets people in as visitors, into rooms that nobody else is in: those whose names
// begin with Room.
type Ticket struct {
	Room   string `json:"room"`
	Ticket string `json:"ticket"`
}

// fresh is for how long a ticket is used. It is good for twice as long.
const fresh = time.Minute

// visitors are people of no backend (probes of package signaling), so that no Nextcloud
// is asked about them, or told. The nodes leave them where they come to.
type visitors struct {
	ask func(context.Context) (Ticket, error)

	mu     sync.Mutex
	ticket Ticket    // guarded by mu
	asked  time.Time // guarded by mu
	rooms  int       // guarded by mu
}

func (v *visitors) open(ctx context.Context, _ string) (string, error) {
	t, err := v.valid(ctx)
	if err != nil {
		return "", err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.rooms++
	return fmt.Sprintf("%s-%d", t.Room, v.rooms), nil
}

// valid asks for another ticket when the last one is old.
func (v *visitors) valid(ctx context.Context) (Ticket, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.asked.IsZero() && time.Since(v.asked) < fresh {
		return v.ticket, nil
	}
	t, err := v.ask(ctx)
	if err != nil {
		return Ticket{}, fmt.Errorf("asking for a ticket: %w", err)
	}
	v.ticket, v.asked = t, time.Now()
	return t, nil
}

func (*visitors) shut(context.Context, string) error { return nil }
func (v *visitors) door(string, string) door         { return visitor{v} }
func (*visitors) close(context.Context) error        { return nil }

type visitor struct{ all *visitors }

func (v visitor) Seat(ctx context.Context, _ string) (load.Credentials, wire.RoomSessionID, error) {
	t, err := v.all.valid(ctx)
	if err != nil {
		return load.Credentials{}, "", err
	}
	params, err := json.Marshal(map[string]string{"ticket": t.Ticket})
	return load.Credentials{Type: wire.AuthProbe, Params: params}, "", err
}

func (visitor) Home(_ context.Context, node string) (string, error) { return node, nil }

// Call has nothing to tell: visitors are in the call as soon as they are in the room.
func (visitor) Call(context.Context, string, wire.RoomSessionID, load.Sending) error { return nil }
