package store

import (
	"context"
	"errors"
	"fmt"
)

// entry is a decoded entry of the log: a body, or the reason for refusing it.
type entry struct {
	index uint64
	data  []byte // as it came, if it did
	cmd   Command
	body  operation
	err   error
}

// Apply applies one command, see ApplyBatch.
func (s *State) Apply(index uint64, c Command) (Result, []Event, error) {
	e := entry{index: index, cmd: c}
	e.body, e.err = c.operation()
	applied, err := s.apply([]entry{e})
	if err != nil {
		return Result{}, nil, err
	}
	return applied[0].Result, applied[0].Events, nil
}

// ApplyBatch applies entries in order, those of the database in one
// transaction. What becomes of a command depends on the state and the command
// only. An error must stop the node, which has not applied the batch then and
// must not go on; a refused command is no error but its Result.Err. Commands
// that the database holds from before the start have neither result nor
// events.
func (s *State) ApplyBatch(batch []Entry) ([]Applied, error) {
	entries := make([]entry, len(batch))
	for i, b := range batch {
		e := entry{index: b.Index, data: b.Data}
		e.cmd, e.body, e.err = decodeCommand(b.Data)
		entries[i] = e
	}
	return s.apply(entries)
}

func (s *State) apply(entries []entry) ([]Applied, error) {
	s.applying.Lock()
	defer s.applying.Unlock()
	if s.db.closed {
		return nil, ErrClosed
	}

	last := s.Applied()
	for i := range entries {
		e := &entries[i]
		if e.index <= last {
			return nil, fmt.Errorf("%w: index %d after %d", ErrOutOfOrder, e.index, last)
		}
		last = e.index
		if errors.Is(e.err, ErrUnknownCommand) {
			return nil, fmt.Errorf("entry %d: %w", e.index, e.err)
		}
		if e.err == nil {
			e.err = e.body.validate()
		}
	}

	tx := s.db.transaction(context.Background())
	defer tx.rollback()
	applied := make([]Applied, len(entries))
	for i, e := range entries {
		a, at := Applied{Index: e.index}, storedTime(e.cmd.At)
		var err error
		switch body := e.body.(type) {
		case memoryOperation:
			if err = e.err; err == nil {
				s.mu.Lock()
				a.Result, a.Events, err = body.applyMemory(&s.mem, at)
				s.mu.Unlock()
			}
		case databaseOperation:
			if err = e.err; err == nil {
				a.Result, a.Events, err = tx.apply(e.index, body, at)
			}
		default:
			err = e.err
		}
		if err != nil && !isRefusal(err) {
			return nil, fmt.Errorf("entry %d, %s: %w", e.index, e.cmd, s.db.explain(err))
		}
		a.Result.Err = err
		for j := range a.Events {
			a.Events[j].Index = e.index
		}
		a.Change = e.change(a)
		applied[i] = a
	}
	if err := tx.commit(); err != nil {
		return nil, fmt.Errorf("entries up to %d: %w", last, s.db.explain(err))
	}

	s.mu.Lock()
	s.applied = last
	s.mu.Unlock()
	return applied, nil
}
