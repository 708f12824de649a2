package cluster

import (
	"cmp"
	"encoding/binary"
	"hash/fnv"
	"math"
	"slices"

	"github.com/talkd/talkd/store"
)

// Candidate is what placement knows of a node.
type Candidate struct {
	ID     store.NodeID
	Region string
	State  MemberState
	Roles  []string // none means all
	Load   Load
	Rooms  int // of which it is the home
	Fresh  int // of these, rooms whose load is not measured yet
}

// Hint is where the first participant of a room is.
type Hint struct {
	Node   store.NodeID
	Region string
}

// Roles that a home needs.
const (
	roleSignaling = "signaling"
	roleMedia     = "media"
)

// Weights of a score. Measured load counts most; rooms count because most of
// them are quiet now and will not stay so.
const (
	weightLoad  = 0.8
	weightRooms = 0.2
	// roomsScale keeps a difference of one room from weighing much while there
	// are few.
	roomsScale = 20
	// freshCost is what a room is taken to weigh until its load is measured.
	// Without it all rooms of a busy minute would go to the same node.
	freshCost = 0.01
	// A hint is worth a difference that nobody would notice.
	bonusNode   = 0.10
	bonusRegion = 0.05
	// overloadCPU is when a node is taken only if all are as busy.
	overloadCPU = 0.90
	// egressScale stands in for an uplink of unknown width.
	egressScale = 1e9
	// sessionsScale is a node full of sessions to placement. A limit above it
	// keeps a machine from falling over, and says nothing of how busy it is.
	sessionsScale = 2000
	// scoreStep makes scores that differ by noise equal, so that the hash
	// spreads them.
	scoreStep = 0.001
)

// Place chooses the home of a room. It is a pure function: the same arguments,
// in any order, give the same node. ErrNoNode is the answer when nobody is
// alive, has the roles, is not draining and has room for more.
func Place(members []Candidate, room store.RoomID, hint Hint) (store.NodeID, error) {
	most := 0
	fit := make([]Candidate, 0, len(members))
	for _, c := range members {
		if c.fit() {
			fit = append(fit, c)
			most = max(most, c.Rooms)
		}
	}
	if len(fit) == 0 {
		return "", ErrNoNode
	}
	best := slices.MinFunc(fit, func(a, b Candidate) int {
		return cmp.Or(
			compareBool(a.overloaded(), b.overloaded()),
			cmp.Compare(a.steps(most, hint), b.steps(most, hint)),
			-cmp.Compare(rendezvous(a.ID, room), rendezvous(b.ID, room)),
			cmp.Compare(a.ID, b.ID),
		)
	})
	return best.ID, nil
}

func (c Candidate) fit() bool { return c.able() && !c.full() }

// able says whether the node could be a home if it had room.
func (c Candidate) able() bool {
	return c.State == StateAlive && c.has(roleSignaling) && c.has(roleMedia)
}

func (c Candidate) full() bool { return c.Load.Full() }

// unfit says why the node cannot be a home, "" if it can.
func (c Candidate) unfit() string {
	switch {
	case c.State == StateDraining:
		return "is draining"
	case c.State != StateAlive:
		return "does not answer"
	case !c.able():
		return "has not both roles, " + roleSignaling + " and " + roleMedia
	case c.full():
		return "is full"
	}
	return ""
}

func (c Candidate) has(role string) bool { return len(c.Roles) == 0 || slices.Contains(c.Roles, role) }

func (c Candidate) overloaded() bool { return finite(c.Load.CPU) >= overloadCPU }

// score is how busy a node is: its scarcest resource, and its share of rooms.
func (c Candidate) score(mostRooms int) float64 {
	egress, sessions := finite(c.Load.MaxEgressBps), float64(c.Load.MaxSessions)
	if egress <= 0 {
		egress = egressScale
	}
	if sessions <= 0 || sessions > sessionsScale {
		sessions = sessionsScale
	}
	load := max(finite(c.Load.CPU), finite(c.Load.EgressBps)/egress, float64(c.Load.Sessions)/sessions)
	rooms := float64(c.Rooms) / float64(max(mostRooms, roomsScale))
	return weightLoad*min(max(load, 0), 1) + weightRooms*rooms + freshCost*float64(c.Fresh)
}

func (c Candidate) steps(mostRooms int, hint Hint) int64 {
	s := c.score(mostRooms)
	if hint.Node != "" && c.ID == hint.Node {
		s -= bonusNode
	}
	if hint.Region != "" && c.Region == hint.Region {
		s -= bonusRegion
	}
	return int64(math.Round(s / scoreStep))
}

// finite keeps a broken measurement of another node from deciding.
func finite(f float64) float64 {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return 0
	}
	return f
}

// rendezvous is highest random weight hashing: each node gets an equal share
// of equal cases, and losing one moves only its own.
func rendezvous(node store.NodeID, room store.RoomID) uint64 {
	h := fnv.New64a()
	for _, s := range []string{string(node), string(room.Backend), room.Name} {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	// FNV's upper bits barely depend on the last byte: mix them (the
	// finaliser of MurmurHash3).
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
