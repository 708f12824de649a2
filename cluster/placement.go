package cluster

import (
	"fmt"
	"math"

	"github.com/talkd/talkd/store"
)

// Hint is where the first participant of a room is.
type Hint struct {
	Node   store.NodeID
	Region string
}

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

// TakesRooms says that the node may become the home of new rooms.
func (m Member) TakesRooms() bool { return m.unfit() == "" }

// unfit says why the node cannot become a home, "" if it can.
func (m Member) unfit() string {
	switch {
	case m.State == StateDraining:
		return "is draining"
	case m.State != StateAlive:
		return "does not answer"
	case !m.able():
		return "has not both roles, " + store.RoleSignaling + " and " + store.RoleMedia
	case m.Load.Full():
		return "is full"
	}
	return ""
}

// able says whether the node could be a home if it had room.
func (m Member) able() bool {
	return m.State == StateAlive && m.Has(store.RoleSignaling) && m.Has(store.RoleMedia)
}

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

// score is how little a node wants another room; perRoom is roomWeight.
func score(busy, perRoom float64, rooms, fresh int32) float64 {
	return weightLoad*busy + perRoom*float64(rooms) + freshCost*float64(fresh)
}

// roomWeight is what each room of a node counts while the one that has most has
// so many.
func roomWeight(most int32) float64 { return weightRooms / float64(max(most, roomsScale)) }

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
