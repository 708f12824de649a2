package cluster

import (
	"math"
	"slices"
	"time"

	"github.com/talkd/talkd/store"
)

// Placer is what placement knows of all nodes, prepared for many decisions: a
// decision looks at one row of numbers per node and allocates nothing. What it
// was told and counted decides, and nothing else: no clock, no dice, no order of
// the nodes. It must not be used by two goroutines at the same time.
//
// Between two measurements of load it counts rooms for itself: those decided
// here (Place) and those that others decided (Assigned).
type Placer struct {
	rows    []row
	recent  [][settleSlots]int32 // of each row: its fresh rooms, by when they came
	at      map[store.NodeID]int
	regions map[string]int32
	most    int32     // rooms of the fit node that has most, or had since the last look
	slot    int       // of recent, for rooms that come now
	turned  time.Time // when the slot was begun
}

// row is one node, small and flat: a decision reads all of them.
type row struct {
	hash   uint64
	busy   float64
	rooms  int32
	fresh  int32
	region int32
	room   int32 // in streams
	fit    bool
	able   bool
	id     store.NodeID
}

// A room is fresh for loadSettle, give or take a slot.
const (
	settleSlots = 10
	settleSlot  = loadSettle / settleSlots
)

// NewPlacer knows nobody yet.
func NewPlacer() *Placer {
	return &Placer{at: make(map[store.NodeID]int), regions: make(map[string]int32)}
}

// Refresh takes what is known of all nodes now.
func (p *Placer) Refresh(now time.Time, members []Member) {
	p.turn(now)
	same := len(members) == len(p.rows)
	for i := 0; same && i < len(members); i++ {
		same = members[i].ID == p.rows[i].id
	}
	if !same {
		p.resize(members)
	}
	p.most = 0
	for i := range members {
		m, r := &members[i], &p.rows[i]
		region, known := p.regions[m.Region]
		if !known {
			region = int32(len(p.regions) + 1)
			p.regions[m.Region] = region
		}
		r.region, r.rooms, r.room = region, clamp(m.Rooms), clamp(m.Load.Headroom)
		r.able, r.fit = m.able(), m.TakesRooms()
		if r.busy = m.Load.Busy(); finite(m.Load.CPU) >= overloadCPU {
			r.busy += overloaded
		}
		if r.fit {
			p.most = max(p.most, r.rooms)
		}
		r.fresh = 0
		for _, n := range p.recent[i] {
			r.fresh += n
		}
	}
}

// clamp keeps what others say within bounds.
func clamp(n int) int32 { return int32(min(max(n, 0), math.MaxInt32/2)) }

// resize makes rows for other nodes than before, and keeps what was counted.
func (p *Placer) resize(members []Member) {
	counted := p.recent
	before := p.at
	p.rows, p.recent = make([]row, len(members)), make([][settleSlots]int32, len(members))
	p.at, p.regions = make(map[store.NodeID]int, len(members)), make(map[string]int32)
	for i, m := range members {
		p.rows[i] = row{id: m.ID, hash: hashNode(m.ID)}
		p.at[m.ID] = i
		if was, ok := before[m.ID]; ok {
			p.recent[i] = counted[was]
		}
	}
}

// turn lets the oldest fresh rooms settle.
func (p *Placer) turn(now time.Time) {
	slots := int(now.Sub(p.turned) / settleSlot)
	if slots <= 0 {
		return
	}
	for range min(slots, settleSlots) {
		p.slot = (p.slot + 1) % settleSlots
		for i := range p.recent {
			p.rows[i].fresh -= p.recent[i][p.slot]
			p.recent[i][p.slot] = 0
		}
	}
	p.turned = now
}

// Place chooses the home of a new room and counts it. ErrNoNode is the answer
// when nobody is alive, has the roles and is not draining, ErrFull when nobody
// has room for more.
func (p *Placer) Place(now time.Time, room store.RoomID, hint Hint) (store.NodeID, error) {
	p.turn(now)
	id, err := p.choose(room, hint, nil, false)
	if err == nil {
		p.count(id)
	}
	return id, err
}

// PlaceAnew chooses another home for a room that people are in, and counts it:
// one of their nodes if that can, else any, and rather a full one than none,
// for a home costs little beside the media of its people.
func (p *Placer) PlaceAnew(now time.Time, room store.RoomID, hint Hint, near []store.NodeID) (store.NodeID, error) {
	p.turn(now)
	var id store.NodeID
	err := ErrNoNode
	if len(near) > 0 {
		id, err = p.choose(room, hint, near, false)
	}
	if err != nil {
		id, err = p.choose(room, hint, nil, false)
	}
	if err != nil {
		id, err = p.choose(room, hint, nil, true)
	}
	if err == nil {
		p.count(id)
	}
	return id, err
}

// Assigned counts a room that another node placed, or that left a node. A zero
// home is none.
func (p *Placer) Assigned(now time.Time, home, previous store.Home, decidedHere bool) {
	p.turn(now)
	if i, ok := p.at[previous.Node]; ok && previous.Epoch != 0 {
		p.rows[i].rooms--
	}
	if i, ok := p.at[home.Node]; ok && home.Epoch != 0 {
		p.rows[i].rooms++
		if p.rows[i].fit {
			p.most = max(p.most, p.rows[i].rooms)
		}
		if !decidedHere {
			p.count(home.Node)
		}
	}
}

func (p *Placer) count(node store.NodeID) {
	if i, ok := p.at[node]; ok {
		p.rows[i].fresh++
		p.recent[i][p.slot]++
	}
}

// Headroom is how many streams all nodes that can take rooms have room for.
// full says that there are nodes that could, but none has room.
func (p *Placer) Headroom() (streams int, full bool) {
	able := false
	full = true
	for i := range p.rows {
		r := &p.rows[i]
		able = able || r.able
		if r.fit {
			full = false
			streams += int(r.room)
		}
	}
	return streams, able && full
}

// choose finds the best row, of some nodes or (none given) all. full: also of
// those that are.
func (p *Placer) choose(room store.RoomID, hint Hint, among []store.NodeID, full bool) (store.NodeID, error) {
	s := search{
		rows: p.rows, hash: hashRoom(room), perRoom: roomWeight(p.most),
		full: full, hinted: -1, region: -1, best: -1, limit: math.Inf(1),
	}
	if i, ok := p.at[hint.Node]; ok && hint.Node != "" {
		s.hinted = i
	}
	if i, ok := p.regions[hint.Region]; ok && hint.Region != "" {
		s.region = i
	}
	if len(among) == 0 {
		s.look(0, len(p.rows))
	}
	for _, id := range among {
		if i, ok := p.at[id]; ok {
			s.look(i, i+1)
		}
	}
	if s.best >= 0 {
		return p.rows[s.best].id, nil
	}
	if slices.ContainsFunc(p.rows, func(r row) bool { return r.able }) {
		return "", errFull(0)
	}
	return "", ErrNoNode
}

// search is one decision.
type search struct {
	rows    []row
	hash    uint64 // of the room
	perRoom float64
	full    bool
	hinted  int
	region  int32

	best     int
	steps    float64
	bestHash uint64
	limit    float64 // a score that is worse for certain
}

// look goes through some rows.
func (s *search) look(from, to int) {
	for i := from; i < to; i++ {
		r := &s.rows[i]
		if !r.fit && (!s.full || !r.able) {
			continue
		}
		score := score(r.busy, s.perRoom, r.rooms, r.fresh)
		if i == s.hinted {
			score -= bonusNode
		}
		if r.region == s.region {
			score -= bonusRegion
		}
		if score >= s.limit {
			continue
		}
		steps := math.Floor(score*scoreSteps + 0.5)
		if s.best >= 0 && steps > s.steps {
			continue
		}
		h := rendezvous(r.hash, s.hash)
		if s.best < 0 || steps < s.steps || h > s.bestHash || h == s.bestHash && r.id < s.rows[s.best].id {
			s.best, s.steps, s.bestHash, s.limit = i, steps, h, (steps+1)/scoreSteps
		}
	}
}
