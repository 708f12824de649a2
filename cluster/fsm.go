package cluster

import (
	"fmt"
	"io"

	"github.com/hashicorp/raft"

	"github.com/talkd/talkd/store"
)

// fsm puts the replicated state behind Raft. Raft's own goroutine calls it.
type fsm struct {
	state   *store.State
	publish func(...store.Event)
	fail    func(error) // stops the node
	feed    *feed
	progress
}

// response is what Raft's futures carry.
type response struct {
	result store.Result
	err    error // the node stops
}

var _ raft.BatchingFSM = (*fsm)(nil)

func newFSM(state *store.State, publish func(...store.Event), fail func(error)) *fsm {
	return &fsm{state: state, publish: publish, fail: fail, feed: newFeed(), progress: newProgress()}
}

// ApplyBatch applies commands. Entries of other types do not move the index: a
// snapshot does not have them, and whoever waits for one would wait for ever on
// a node that was restored from it.
func (f *fsm) ApplyBatch(logs []*raft.Log) []any {
	responses := make([]any, len(logs))
	fill := func(err error) []any {
		for i := range responses {
			responses[i] = response{err: err}
		}
		return responses
	}
	if err := f.err(); err != nil {
		return fill(err)
	}
	entries := make([]store.Entry, 0, len(logs))
	for _, l := range logs {
		if l.Type == raft.LogCommand {
			entries = append(entries, store.Entry{Index: l.Index, Data: l.Data})
		}
	}
	var applied []store.Applied
	if len(entries) > 0 {
		var err error
		if applied, err = f.state.ApplyBatch(entries); err != nil {
			return fill(f.stop(fmt.Errorf("what the cluster has decided cannot be applied here: %w", err)))
		}
	}
	next := 0
	for i, l := range logs {
		var r response
		if l.Type == raft.LogCommand {
			r.result = applied[next].Result
			next++
		}
		responses[i] = r
	}
	if len(entries) > 0 {
		f.feed.add(applied)
		f.advance(entries[len(entries)-1].Index)
	}
	for _, a := range applied {
		f.publish(a.Events...)
	}
	return responses
}

// Apply applies one command.
func (f *fsm) Apply(l *raft.Log) any { return f.ApplyBatch([]*raft.Log{l})[0] }

// Snapshot captures the state. After a failure there is none to take: it
// would drop the entry that was not applied from the log.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	if err := f.err(); err != nil {
		return nil, err
	}
	snap, err := f.state.Capture()
	if err != nil {
		return nil, err
	}
	return snapshot{snap}, nil
}

// Restore replaces the state by a snapshot.
func (f *fsm) Restore(r io.ReadCloser) error {
	defer r.Close()
	if err := f.state.Restore(r); err != nil {
		return err
	}
	f.feed.reset(f.state.Applied())
	f.advance(f.state.Applied())
	f.publish(store.Event{Index: f.state.Applied(), Kind: store.EventRestored})
	return nil
}

// stop remembers the first failure and ends the node.
func (f *fsm) stop(err error) error {
	err = f.end(err)
	f.fail(err)
	return err
}

// snapshot adapts the state's snapshot to Raft's sink.
type snapshot struct{ *store.Snapshot }

func (s snapshot) Persist(sink raft.SnapshotSink) error {
	if err := s.Snapshot.Persist(sink); err != nil {
		return fmt.Errorf("snapshot: %w", cancelSink(sink, err))
	}
	return sink.Close()
}

func cancelSink(sink raft.SnapshotSink, err error) error {
	if cerr := sink.Cancel(); cerr != nil {
		return fmt.Errorf("%w (and removing it: %w)", err, cerr)
	}
	return err
}
