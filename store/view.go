package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
)

// View is the part of the state that is in memory, and that every node knows:
// who belongs to the cluster, which node is the home of which room, and what
// they seal with. On a server it is half of State. Any other node follows a
// server: it applies the same commands, so it cannot but agree.
type View struct {
	mu      sync.RWMutex // guards what follows
	mem     memory
	applied uint64 // index of the last entry applied since Open or Restore
}

// NewView makes the view of a node that follows. It knows nothing yet.
func NewView() *View { return &View{mem: newMemory()} }

// Change is what an entry, applied on a server, means to those who follow: the
// command itself if it is about what is in the view, else the events of what it
// did to the database. Refused commands change nothing.
type Change struct {
	Index   uint64
	Command []byte
	Events  []Event
}

// Follow applies a change. Without an error it is applied, now or before. An
// error stops the node, as one of Apply would.
func (v *View) Follow(c Change) ([]Event, error) {
	if c.Command == nil {
		v.Advance(c.Index)
		return c.Events, nil
	}
	cmd, body, err := decodeCommand(c.Command)
	if err == nil {
		err = body.validate()
	}
	if err != nil {
		return nil, fmt.Errorf("entry %d: %w", c.Index, err)
	}
	op, ok := body.(memoryOperation)
	if !ok {
		return nil, fmt.Errorf("entry %d: %w: %s is for servers", c.Index, ErrInvalid, cmd)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if c.Index <= v.applied {
		return nil, nil
	}
	// The server did not refuse it. Who does has gone another way.
	_, events, err := op.applyMemory(&v.mem, storedTime(cmd.At))
	if err != nil {
		return nil, fmt.Errorf("entry %d, %s: %w: %w", c.Index, cmd, ErrOutOfOrder, err)
	}
	v.applied = c.Index
	for i := range events {
		events[i].Index = c.Index
	}
	return events, nil
}

// Advance notes that nothing up to index is missing.
func (v *View) Advance(index uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.applied = max(v.applied, index)
}

// exportPart bounds a part of an exported view.
const exportPart = 256 << 10

// Export hands the view over in parts of a few hundred kilobytes, for Import on
// another node, and tells its index. Commands go on being applied meanwhile.
func (v *View) Export(send func(part []byte) error) (index uint64, err error) {
	v.mu.Lock()
	index, mem := v.applied, v.mem.clone()
	v.mu.Unlock()
	b, err := json.Marshal(newImage(index, mem))
	if err != nil {
		return 0, err
	}
	if err := send(b); err != nil {
		return 0, err
	}
	for part := range slices.Chunk(mem.homes.encode(), exportPart) {
		if err := send(part); err != nil {
			return 0, err
		}
	}
	return index, nil
}

// Importer collects the parts of an exported view.
type Importer struct {
	img   image
	homes []byte
	begun bool
}

// Add takes the next part.
func (i *Importer) Add(part []byte) error {
	if i.begun {
		i.homes = append(i.homes, part...)
		return nil
	}
	i.begun = true
	if err := unmarshal(part, &i.img); err != nil {
		return fmt.Errorf("%w: %w", ErrBadSnapshot, err)
	}
	return nil
}

// Import replaces the view by what was collected. One that is older than what
// is known here is refused with ErrOutOfOrder: nothing goes backwards.
func (v *View) Import(i *Importer) error {
	if !i.begun {
		return fmt.Errorf("%w: it is empty", ErrBadSnapshot)
	}
	homes, err := decodeHomes(bytes.NewReader(i.homes), i.img.LastEpoch, i.img.node)
	if err != nil {
		return err
	}
	mem := i.img.memory(homes)
	v.mu.Lock()
	defer v.mu.Unlock()
	if i.img.Applied < v.applied {
		return fmt.Errorf("%w: a view of %d, known is %d", ErrOutOfOrder, i.img.Applied, v.applied)
	}
	v.mem, v.applied = mem, i.img.Applied
	return nil
}

// change is what an applied entry means to those who follow.
func (e entry) change(a Applied) Change {
	c := Change{Index: e.index}
	if a.Result.Err != nil {
		return c
	}
	if _, ok := e.body.(memoryOperation); ok {
		c.Command = e.data
		return c
	}
	c.Events = a.Events
	return c
}
