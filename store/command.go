package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// CommandVersion is the highest command version this binary applies. A new
// op, a new field of an op, a new meaning of either, and a limit that is drawn
// elsewhere need a higher one: a binary that knew the version but not the
// change would apply something else.
const CommandVersion uint16 = 3

// MaxCommand bounds an encoded command.
const MaxCommand = 1 << 20

// formatJSON is the first byte of an encoded command.
const formatJSON = 1

// Names of commands.
const (
	OpClusterInit        = "cluster_init"
	OpPutNode            = "put_node"
	OpRemoveNode         = "remove_node"
	OpSetDrain           = "set_drain"
	OpAssignHome         = "assign_home"
	OpAssignHomes        = "assign_homes"
	OpReleaseRoom        = "release_room"
	OpPutSecret          = "put_secret"
	OpRemoveSecret       = "remove_secret"
	OpPutKey             = "put_key"
	OpUseKey             = "use_key"
	OpDropKey            = "drop_key"
	OpCreateJoinToken    = "create_join_token"
	OpUseJoinToken       = "use_join_token"
	OpPutUser            = "put_user"
	OpRemoveUser         = "remove_user"
	OpPutLogin           = "put_login"
	OpRemoveLogin        = "remove_login"
	OpCreateConversation = "create_conversation"
	OpRenameConversation = "rename_conversation"
	OpDeleteConversation = "delete_conversation"
	OpAddAttendee        = "add_attendee"
	OpRemoveAttendee     = "remove_attendee"
	OpPutBackend         = "put_backend"
	OpRemoveBackend      = "remove_backend"
)

// operation is the typed body of a command.
type operation interface{ validate() error }

// newOperation gives the empty body of an op and the version that brought it.
func newOperation(op string) (body operation, since uint16) {
	switch op {
	case OpClusterInit:
		return &clusterInit{}, 1
	case OpPutNode:
		return &putNode{}, 1
	case OpRemoveNode:
		return &removeNode{}, 1
	case OpSetDrain:
		return &setDrain{}, 1
	case OpAssignHome:
		return &assignHome{}, 1
	case OpAssignHomes:
		return &assignHomes{}, 1
	case OpReleaseRoom:
		return &releaseRoom{}, 1
	case OpPutSecret:
		return &putSecret{}, 1
	case OpRemoveSecret:
		return &removeSecret{}, 1
	case OpPutKey:
		return &putKey{}, 1
	case OpUseKey:
		return &useKey{}, 1
	case OpDropKey:
		return &dropKey{}, 1
	case OpCreateJoinToken:
		return &createJoinToken{}, 1
	case OpUseJoinToken:
		return &useJoinToken{}, 1
	case OpPutUser:
		return &putUser{}, 1
	case OpRemoveUser:
		return &removeUser{}, 1
	case OpPutLogin:
		return &putLogin{}, 1
	case OpRemoveLogin:
		return &removeLogin{}, 1
	case OpCreateConversation:
		return &createConversation{}, 1
	case OpRenameConversation:
		return &renameConversation{}, 1
	case OpDeleteConversation:
		return &deleteConversation{}, 1
	case OpAddAttendee:
		return &addAttendee{}, 1
	case OpRemoveAttendee:
		return &removeAttendee{}, 1
	case OpPutBackend:
		return &putBackend{}, 2
	case OpRemoveBackend:
		return &removeBackend{}, 2
	}
	return nil, 0
}

// MinVersion is the command version that brought an op; a node that applies
// less must not be sent it. It is 0 for an op this binary does not know.
func MinVersion(op string) uint16 {
	_, since := newOperation(op)
	return since
}

// Command is one entry of the log. It holds everything its effect depends on
// besides the state: whoever proposes it reads the clock and throws the dice.
type Command struct {
	Version uint16          `json:"v"`
	Op      string          `json:"op"`
	At      time.Time       `json:"at"`
	Body    json.RawMessage `json:"body"`

	err error // of the constructor, told by Encode
}

// newCommand makes the command of a typed constructor.
func newCommand(op string, at time.Time, body operation) Command {
	c := Command{Version: MinVersion(op), Op: op, At: storedTime(at)}
	if c.err = body.validate(); c.err != nil {
		return c
	}
	b, err := json.Marshal(body)
	if err != nil {
		c.err = fmt.Errorf("%w: %w", ErrInvalid, err)
		return c
	}
	c.Body = b
	return c
}

// Err says why the arguments of the constructor make no command. Encode says
// so too.
func (c Command) Err() error { return c.err }

// Validate checks the command as Apply will.
func (c Command) Validate() error {
	body, err := c.operation()
	if err != nil {
		return err
	}
	return body.validate()
}

// String names the command; its body may hold secrets.
func (c Command) String() string { return fmt.Sprintf("%.64s/%d", c.Op, c.Version) }

// GoString names the command; its body may hold secrets.
func (c Command) GoString() string { return c.String() }

// Encode writes the command as it stands in the log: one byte for the format,
// then JSON.
func (c Command) Encode() ([]byte, error) {
	if c.err != nil {
		return nil, fmt.Errorf("%s: %w", c.Op, c.err)
	}
	b, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", c.Op, ErrInvalid, err)
	}
	if len(b) >= MaxCommand {
		return nil, fmt.Errorf("%s: %w: command of %d bytes", c.Op, ErrInvalid, len(b))
	}
	return append([]byte{formatJSON}, b...), nil
}

// DecodeCommand reads what Encode wrote. ErrMalformed is for what no binary
// can apply and all refuse alike, ErrUnknownCommand for what a newer one can.
func DecodeCommand(b []byte) (Command, error) {
	c, _, err := decodeCommand(b)
	return c, err
}

func decodeCommand(b []byte) (Command, operation, error) {
	if len(b) == 0 || len(b) > MaxCommand {
		return Command{}, nil, fmt.Errorf("%w: %d bytes", ErrMalformed, len(b))
	}
	if b[0] != formatJSON {
		return Command{}, nil, fmt.Errorf("%w: format %d, this binary knows format %d; upgrade this node", ErrUnknownCommand, b[0], formatJSON)
	}
	b = b[1:]
	// Version and op come first, by themselves: in a newer version anything
	// else may look different.
	var head struct {
		Version uint64 `json:"v"`
		Op      string `json:"op"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return Command{}, nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if MinVersion(head.Op) == 0 || head.Version > uint64(CommandVersion) {
		return Command{}, nil, unknownCommand(head.Op, head.Version)
	}
	var c Command
	if err := unmarshal(b, &c); err != nil {
		return Command{}, nil, fmt.Errorf("op %s of version %d: %w", head.Op, head.Version, err)
	}
	c.At = storedTime(c.At)
	body, err := c.operation()
	if err != nil {
		return Command{}, nil, err
	}
	return c, body, nil
}

// operation decodes the body.
func (c Command) operation() (operation, error) {
	if c.err != nil {
		return nil, c.err
	}
	body, since := newOperation(c.Op)
	if body == nil || c.Version > CommandVersion {
		return nil, unknownCommand(c.Op, uint64(c.Version))
	}
	if c.Version < since {
		return nil, fmt.Errorf("%w: op %s of version %d came with version %d", ErrMalformed, c.Op, c.Version, since)
	}
	if err := unmarshal(c.Body, body); err != nil {
		return nil, fmt.Errorf("op %s of version %d: %w", c.Op, c.Version, err)
	}
	return body, nil
}

func unknownCommand(op string, version uint64) error {
	return fmt.Errorf("%w: op %.64q of version %d, this binary knows versions up to %d; upgrade this node",
		ErrUnknownCommand, op, version, CommandVersion)
}

// unmarshal decodes strictly. A field this binary does not know is a newer
// binary's, and leaving it out would apply another command than the others do.
func unmarshal(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			return nil
		}
		return fmt.Errorf("%w: text after the JSON value", ErrMalformed)
	}
	// The strict decoder has no error of its own for an unknown field: what
	// only it refuses has one.
	if json.Unmarshal(b, v) == nil {
		return fmt.Errorf("%w: unknown field; upgrade this node", ErrUnknownCommand)
	}
	return fmt.Errorf("%w: %w", ErrMalformed, err)
}
