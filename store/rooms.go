package store

import (
	"cmp"
	"container/heap"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// RoomsQuery asks for one page of the rooms that have a home.
type RoomsQuery struct {
	After  RoomsCursor // zero: from the start
	Limit  int
	Newest bool   // the newest first; else ordered by backend and name
	Search string // a part of the room's name as it is written outside
	Home   NodeID // only rooms with this home
}

// RoomsCursor is the last room of a page.
type RoomsCursor struct {
	Room    RoomID    `json:"r"`
	Created time.Time `json:"c,omitzero"`
}

// String writes the cursor for a URL; "" is the zero one.
func (c RoomsCursor) String() string {
	if c == (RoomsCursor{}) {
		return ""
	}
	b, err := json.Marshal(c)
	if err != nil {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// ParseRoomsCursor reads what String wrote.
func ParseRoomsCursor(s string) (RoomsCursor, error) {
	var c RoomsCursor
	if s == "" {
		return c, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	if err == nil {
		err = c.Room.Validate()
	}
	if err != nil {
		return RoomsCursor{}, fmt.Errorf("%w: cursor", ErrInvalid)
	}
	c.Created = storedTime(c.Created)
	return c, nil
}

// PlacedRoom is a room and its home.
type PlacedRoom struct {
	Room RoomID
	Home Home
}

func (p PlacedRoom) cursor() RoomsCursor { return RoomsCursor{Room: p.Room, Created: p.Home.Created} }

// RoomsPage is one page of the rooms that have a home, how many match in all,
// and where the next page begins: zero when this is the last. It looks at every
// home, of one moment, and keeps no more than a page.
func (v *View) RoomsPage(q RoomsQuery) (page []PlacedRoom, total int, next RoomsCursor) {
	h := &pageHeap{newest: q.Newest}
	more := false
	after := PlacedRoom{Room: q.After.Room, Home: Home{Created: q.After.Created}}
	v.mu.Lock()
	homes := v.mem.homes.clone()
	v.mu.Unlock()
	homes.all(func(room RoomID, home Home) bool {
		if q.Home != "" && home.Node != q.Home || q.Search != "" && !strings.Contains(room.String(), q.Search) {
			return true
		}
		total++
		p := PlacedRoom{room, home}
		if q.After != (RoomsCursor{}) && h.compare(p, after) <= 0 {
			return true
		}
		switch {
		case len(h.rooms) < q.Limit:
			heap.Push(h, p)
		case q.Limit > 0 && h.compare(p, h.rooms[0]) < 0:
			h.rooms[0], more = p, true
			heap.Fix(h, 0)
		default:
			more = true
		}
		return true
	})
	slices.SortFunc(h.rooms, h.compare)
	if more && len(h.rooms) > 0 {
		next = h.rooms[len(h.rooms)-1].cursor()
	}
	return h.rooms, total, next
}

// pageHeap has the room that comes last on top.
type pageHeap struct {
	newest bool
	rooms  []PlacedRoom
}

func (h *pageHeap) compare(a, b PlacedRoom) int {
	if h.newest {
		return cmp.Or(b.Home.Created.Compare(a.Home.Created), compareRooms(a.Room, b.Room))
	}
	return compareRooms(a.Room, b.Room)
}

// The methods of heap.Interface.
func (h *pageHeap) Len() int           { return len(h.rooms) }
func (h *pageHeap) Less(i, j int) bool { return h.compare(h.rooms[i], h.rooms[j]) > 0 }
func (h *pageHeap) Swap(i, j int)      { h.rooms[i], h.rooms[j] = h.rooms[j], h.rooms[i] }
func (h *pageHeap) Push(x any)         { h.rooms = append(h.rooms, x.(PlacedRoom)) }

func (h *pageHeap) Pop() any {
	last := h.rooms[len(h.rooms)-1]
	h.rooms = h.rooms[:len(h.rooms)-1]
	return last
}
