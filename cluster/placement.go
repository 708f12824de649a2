package cluster

import (
	"fmt"
	"math"
	"slices"
	"time"

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
	// A hint of a node is worth a difference that nobody would notice, one of a
	// region what saves people an ocean.
	bonusNode   = 0.02
	bonusRegion = 0.20
	// overloadCPU is when a node is taken only if all are as busy.
	overloadCPU = 0.90
	// egressScale stands in for an uplink of unknown width.
	egressScale = 1e9
	// sessionsScale is a node full of sessions to placement. A limit above it
	// keeps a machine from falling over, and says nothing of how busy it is.
	sessionsScale = 2000
	// scoreSteps of a score of one: scores that differ by noise are equal, and
	// the hash spreads them.
	scoreSteps = 1000
	// overloaded is beyond all scores.
	overloaded = 1 << 20
)

// Place chooses the home of a room. It is a pure function: the same arguments,
// in any order, give the same node. ErrNoNode is the answer when nobody is
// alive, has the roles and is not draining, ErrFull when nobody has room for
// more.
func Place(members []Candidate, room store.RoomID, hint Hint) (store.NodeID, error) {
	p := NewPlacer()
	p.Refresh(time.Time{}, members)
	return p.choose(room, hint, nil, false)
}

func (c Candidate) fit() bool { return c.able() && !c.Load.Full() }

// able says whether the node could be a home if it had room.
func (c Candidate) able() bool {
	return c.State == StateAlive && c.has(roleSignaling) && c.has(roleMedia)
}

// unfit says why the node cannot be a home, "" if it can.
func (c Candidate) unfit() string {
	switch {
	case c.State == StateDraining:
		return "is draining"
	case c.State != StateAlive:
		return "does not answer"
	case !c.able():
		return "has not both roles, " + roleSignaling + " and " + roleMedia
	case c.Load.Full():
		return "is full"
	}
	return ""
}

func (c Candidate) has(role string) bool { return len(c.Roles) == 0 || slices.Contains(c.Roles, role) }

// Busy is how much a node is used: the share of its scarcest resource.
func (l Load) Busy() float64 {
	egress, sessions := finite(l.MaxEgressBps), float64(l.MaxSessions)
	if egress <= 0 {
		egress = egressScale
	}
	if sessions <= 0 || sessions > sessionsScale {
		sessions = sessionsScale
	}
	return min(max(finite(l.CPU), finite(l.EgressBps)/egress, float64(l.Sessions)/sessions, 0), 1)
}

// A node is crowded that is above the mean of all by so much, and not idle.
const (
	crowdedOver  = 1.05
	crowdedFloor = 0.30
)

// CrowdedAmong says whether the node is crowded while the mean of all is so
// busy (Load.Busy).
func (l Load) CrowdedAmong(mean float64) bool { return l.Busy() > max(crowdedFloor, crowdedOver*mean) }

// score is how little a node wants another room.
func score(busy float64, rooms, mostRooms, fresh int) float64 {
	return weightLoad*busy + weightRooms*float64(rooms)/float64(max(mostRooms, roomsScale)) + freshCost*float64(fresh)
}

// finite keeps a broken measurement of another node from deciding.
func finite(f float64) float64 {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return 0
	}
	return f
}

// errFull says that nobody takes more.
func errFull(streams int) error { return fmt.Errorf("%w: room for %d more streams", ErrFull, streams) }

// rendezvous is highest random weight hashing of hashed names: each node gets
// an equal share of equal cases, and losing one moves only its own.
func rendezvous(node, room uint64) uint64 { return mix(node ^ room) }

func hashRoom(room store.RoomID) uint64 {
	return hashText(hashText(hashStart, string(room.Backend)), room.Name)
}

func hashNode(node store.NodeID) uint64 { return mix(hashText(hashStart, string(node))) }

// FNV-1a, 64 bit.
const (
	hashStart = 14695981039346656037
	hashPrime = 1099511628211
)

// hashText goes on with a text, the length first so that "ab","c" is not
// "a","bc".
func hashText(h uint64, s string) uint64 {
	for n := len(s); n > 0; n >>= 8 {
		h = (h ^ uint64(n&0xff)) * hashPrime
	}
	h *= hashPrime
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * hashPrime
	}
	return h
}

// mix is the finaliser of MurmurHash3: FNV's upper bits barely depend on the
// last byte.
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
