package store

import (
	"fmt"
	"time"
)

type clusterInit struct {
	Identity Identity `json:"identity"`
	Secrets  []Secret `json:"secrets"`
}

// NewClusterInit makes a cluster. The second one is refused with ErrExists.
func NewClusterInit(at time.Time, id Identity, secrets ...Secret) Command {
	return newCommand(OpClusterInit, at, &clusterInit{Identity: id, Secrets: secrets})
}

func (o *clusterInit) validate() error {
	if len(o.Secrets) > MaxSecrets {
		return fmt.Errorf("%w: %d secrets", ErrInvalid, len(o.Secrets))
	}
	for _, s := range o.Secrets {
		if err := s.Validate(); err != nil {
			return err
		}
	}
	return o.Identity.Validate()
}

type putNode struct {
	Node Node `json:"node"`
}

// NewPutNode writes a node's record. A node that is there already keeps its
// Joined; one with another key is another node, and refused with ErrExists.
func NewPutNode(at time.Time, n Node) Command {
	return newCommand(OpPutNode, at, &putNode{Node: n})
}

func (o *putNode) validate() error { return o.Node.Validate() }

type removeNode struct {
	Node NodeID `json:"node"`
}

// NewRemoveNode takes a node out of the cluster; its key is good for nothing
// from then on. Rooms keep it as their home until the leader places them anew.
func NewRemoveNode(at time.Time, id NodeID) Command {
	return newCommand(OpRemoveNode, at, &removeNode{Node: id})
}

func (o *removeNode) validate() error { return checkNodeID(o.Node) }

type setDrain struct {
	Node   NodeID `json:"node"`
	On     bool   `json:"on"`
	Reason string `json:"reason,omitempty"`
}

// NewSetDrain says that rooms and people should leave a node, or may come
// again. Saying it twice is harmless.
func NewSetDrain(at time.Time, node NodeID, on bool, reason string) Command {
	return newCommand(OpSetDrain, at, &setDrain{Node: node, On: on, Reason: reason})
}

func (o *setDrain) validate() error {
	if err := checkText("reason", o.Reason, 0, MaxLabel); err != nil {
		return err
	}
	return checkNodeID(o.Node)
}

type assignHome struct {
	Room      RoomID `json:"room"`
	Node      NodeID `json:"node"`
	PrevEpoch uint64 `json:"prev_epoch"`
	Reason    Reason `json:"reason"`
}

// NewAssignHome makes a node the home of a room, provided that the room's
// epoch still is prevEpoch (0: the room has no home); otherwise it is refused
// with ErrStaleEpoch. Result.Home is the new home.
func NewAssignHome(at time.Time, room RoomID, node NodeID, prevEpoch uint64, reason Reason) Command {
	return newCommand(OpAssignHome, at, &assignHome{Room: room, Node: node, PrevEpoch: prevEpoch, Reason: reason})
}

func (o *assignHome) validate() error { return Assignment(*o).validate() }

// MaxAssignments is how many homes one command assigns. MaxAssignedNames is how
// long the names of their rooms may be together (RoomID.Len), so that the
// command fits MaxCommand however they are escaped.
const (
	MaxAssignments   = 1024
	MaxAssignedNames = 64 << 10
)

type assignHomes struct {
	Homes []Assignment `json:"homes"`
}

// NewAssignHomes is many assignments in one entry of the log. Each succeeds or
// is refused for itself, see Result.Homes.
func NewAssignHomes(at time.Time, homes []Assignment) Command {
	return newCommand(OpAssignHomes, at, &assignHomes{Homes: homes})
}

func (o *assignHomes) validate() error {
	if len(o.Homes) == 0 || len(o.Homes) > MaxAssignments {
		return fmt.Errorf("%w: %d assignments", ErrInvalid, len(o.Homes))
	}
	names := 0
	for _, a := range o.Homes {
		if err := a.validate(); err != nil {
			return err
		}
		names += a.Room.Len()
	}
	if names > MaxAssignedNames {
		return fmt.Errorf("%w: rooms with names of %d bytes", ErrInvalid, names)
	}
	return nil
}

type releaseRoom struct {
	Room  RoomID `json:"room"`
	Epoch uint64 `json:"epoch"`
}

// NewReleaseRoom takes the home from a room that nobody uses any more,
// provided that its epoch still is this one.
func NewReleaseRoom(at time.Time, room RoomID, epoch uint64) Command {
	return newCommand(OpReleaseRoom, at, &releaseRoom{Room: room, Epoch: epoch})
}

func (o *releaseRoom) validate() error { return checkRoomID(o.Room) }

type putSecret struct {
	Secret Secret `json:"secret"`
}

// NewPutSecret adds a key to the ring of its name. A key never changes: a
// taken id is refused with ErrExists.
func NewPutSecret(at time.Time, s Secret) Command {
	return newCommand(OpPutSecret, at, &putSecret{Secret: s})
}

func (o *putSecret) validate() error { return o.Secret.Validate() }

type removeSecret struct {
	Name string `json:"name"`
	ID   uint32 `json:"id"`
}

// NewRemoveSecret takes a key out of the ring; what it sealed opens no more.
func NewRemoveSecret(at time.Time, name string, id uint32) Command {
	return newCommand(OpRemoveSecret, at, &removeSecret{Name: name, ID: id})
}

func (o *removeSecret) validate() error { return checkText("secret name", o.Name, 1, MaxSecretName) }

type createJoinToken struct {
	Hash    TokenHash `json:"hash"`
	Expires time.Time `json:"expires"`
}

// NewCreateJoinToken lets one node that has the token join until it expires.
func NewCreateJoinToken(at time.Time, hash TokenHash, expires time.Time) Command {
	return newCommand(OpCreateJoinToken, at, &createJoinToken{Hash: hash, Expires: storedTime(expires)})
}

func (o *createJoinToken) validate() error { return checkHash(o.Hash) }

type useJoinToken struct {
	Hash   TokenHash `json:"hash"`
	Joiner Joiner    `json:"joiner"`
}

// NewUseJoinToken spends a token; whoever spent it may do so again. Whether it
// has expired is decided by the command's time, so alike on every node.
func NewUseJoinToken(at time.Time, hash TokenHash, by Joiner) Command {
	return newCommand(OpUseJoinToken, at, &useJoinToken{Hash: hash, Joiner: by})
}

func (o *useJoinToken) validate() error {
	if err := o.Joiner.validate(); err != nil {
		return err
	}
	return checkHash(o.Hash)
}

func checkNodeID(id NodeID) error {
	if _, err := ParseNodeID(string(id)); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}

func checkRoomID(r RoomID) error {
	if err := r.Validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}

func checkReason(r Reason) error {
	if r.canonical() == "" {
		return fmt.Errorf("%w: reason %.32q", ErrInvalid, string(r))
	}
	return nil
}

func checkHash(h TokenHash) error {
	if h == (TokenHash{}) {
		return fmt.Errorf("%w: empty token hash", ErrInvalid)
	}
	return nil
}

// storedTime is the time as the state keeps it: in UTC, to the millisecond,
// without this machine's monotonic clock.
func storedTime(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }
