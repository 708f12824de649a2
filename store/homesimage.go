package store

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
)

// The homes in a snapshot, of which there are as many as rooms. Numbers are
// varints, texts a length and their bytes:
//
//	number of nodes, their ids
//	number of backends, and of each
//	  id, number of rooms, and of each
//	    name, node (its place in the list), epoch, created (Unix milliseconds), reason (its place in reasons)
//
// Everything is in order, so that equal states give equal bytes.

// reasons gives each a number; new ones come at the end.
func reasons() []Reason { return []Reason{ReasonNew, ReasonAnew, ReasonMove, ReasonDrain} }

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// roomHome is one home for sorting.
type roomHome struct {
	room RoomID
	home Home
}

// encode writes the homes.
func (h *homes) encode() []byte {
	list := make([]roomHome, 0, h.count)
	nodes, backends, size := map[NodeID]uint64{}, 0, 64
	seen := map[BackendID]bool{}
	h.all(func(r RoomID, home Home) bool {
		list = append(list, roomHome{r, home})
		nodes[home.Node] = 0
		if !seen[r.Backend] {
			seen[r.Backend] = true
			backends++
		}
		size += len(r.Name) + 18
		return true
	})
	slices.SortFunc(list, func(a, b roomHome) int { return compareRooms(a.room, b.room) })

	b := make([]byte, 0, size)
	b = binary.AppendUvarint(b, uint64(len(nodes)))
	for i, n := range slices.Sorted(maps.Keys(nodes)) {
		nodes[n] = uint64(i)
		b = appendText(b, string(n))
	}
	b = binary.AppendUvarint(b, uint64(backends))
	for len(list) > 0 {
		backend := list[0].room.Backend
		n := slices.IndexFunc(list, func(r roomHome) bool { return r.room.Backend != backend })
		if n < 0 {
			n = len(list)
		}
		b = binary.AppendUvarint(appendText(b, string(backend)), uint64(n))
		for _, r := range list[:n] {
			b = appendText(b, r.room.Name)
			b = binary.AppendUvarint(b, nodes[r.home.Node])
			b = binary.AppendUvarint(b, r.home.Epoch)
			b = binary.AppendVarint(b, r.home.Created.UnixMilli())
			b = binary.AppendUvarint(b, uint64(max(0, slices.Index(reasons(), r.home.Reason))))
		}
		list = list[n:]
	}
	return b
}

// homesReader reads what encode wrote. The checksum says that the bytes are
// those that were written; what is checked here keeps a wrong length from
// taking the memory, and the promise of the epochs.
type homesReader struct {
	*bufio.Reader
	err error
}

func (r *homesReader) number() uint64 {
	if r.err != nil {
		return 0
	}
	var n uint64
	n, r.err = binary.ReadUvarint(r)
	return n
}

func (r *homesReader) signed() int64 {
	if r.err != nil {
		return 0
	}
	var n int64
	n, r.err = binary.ReadVarint(r)
	return n
}

func (r *homesReader) text(limit int) string {
	n := r.number()
	if r.err == nil && n > uint64(limit) {
		r.err = fmt.Errorf("%w: a name of %d bytes", ErrBadSnapshot, n)
	}
	if r.err != nil {
		return ""
	}
	b := make([]byte, n)
	_, r.err = io.ReadFull(r.Reader, b)
	return string(b)
}

// decodeHomes reads the homes, of which none may be above the last epoch.
// canonical gives a node's id as the records hold it.
func decodeHomes(in io.Reader, lastEpoch uint64, canonical func(NodeID) NodeID) (*homes, error) {
	r := &homesReader{Reader: bufio.NewReaderSize(in, 1<<16)}
	var nodes []NodeID
	for n := r.number(); n > 0 && r.err == nil; n-- {
		nodes = append(nodes, canonical(NodeID(r.text(MaxNodeID))))
	}
	h, why := newHomes(), reasons()
	for backends := r.number(); backends > 0 && r.err == nil; backends-- {
		backend := BackendID(r.text(MaxBackendID))
		for rooms := r.number(); rooms > 0 && r.err == nil; rooms-- {
			name, node, epoch, created, reason := r.text(MaxRoomName), r.number(), r.number(), r.signed(), r.number()
			switch {
			case r.err != nil:
			case node >= uint64(len(nodes)) || reason >= uint64(len(why)):
				r.err = fmt.Errorf("%w: a room of node %d of %d, reason %d", ErrBadSnapshot, node, len(nodes), reason)
			case epoch == 0 || epoch > lastEpoch:
				r.err = fmt.Errorf("%w: a room at epoch %d of %d", ErrBadSnapshot, epoch, lastEpoch)
			default:
				h.set(RoomID{backend, name}, Home{Node: nodes[node], Epoch: epoch, Created: readTime(created), Reason: why[reason]})
			}
		}
	}
	switch {
	case r.err == nil:
		if _, err := r.ReadByte(); !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%w: bytes after the homes", ErrBadSnapshot)
		}
		return h, nil
	case errors.Is(r.err, io.EOF), errors.Is(r.err, io.ErrUnexpectedEOF):
		return nil, fmt.Errorf("%w: it ends early", ErrBadSnapshot)
	}
	return nil, fmt.Errorf("%w: homes: %w", ErrBadSnapshot, r.err)
}
