package cluster

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/talkd/talkd/store"
)

// leafMachine is a state machine with what it told.
type leafMachine struct {
	testing.TB
	*fsm
	state  *store.State
	events []store.Event
	failed []error
}

func newLeafMachine(t testing.TB) *leafMachine {
	m := &leafMachine{TB: t, state: leafState(t)}
	m.fsm = newFSM(m.state,
		func(e ...store.Event) { m.events = append(m.events, e...) },
		func(err error) { m.failed = append(m.failed, err) })
	return m
}

func leafEntry(t testing.TB, index uint64, c store.Command) *raft.Log {
	t.Helper()
	data, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return &raft.Log{Index: index, Type: raft.LogCommand, Data: data}
}

// start makes a cluster with nodes n1 and n2, in entries 1 to 3.
func (m *leafMachine) start() {
	m.Helper()
	node := func(id store.NodeID) store.Node {
		return store.Node{ID: id, Version: "1", Commands: store.CommandVersion}
	}
	for i, r := range m.ApplyBatch([]*raft.Log{
		leafEntry(m, 1, store.NewClusterInit(leafNow, store.Identity{ClusterID: "c", CACert: []byte("x"), SealedCAKey: []byte("x"), SealedGossipKey: []byte("x")})),
		leafEntry(m, 2, store.NewPutNode(leafNow, node("n1"))),
		leafEntry(m, 3, store.NewPutNode(leafNow, node("n2"))),
	}) {
		if got := r.(response); got.err != nil || got.result.Err != nil {
			m.Fatalf("entry %d: %+v", i+1, got)
		}
	}
	m.events = nil
}

// Each entry gets its own answer, also between those that are no commands, and
// the events come in the order of the log.
func TestApplyBatch(t *testing.T) {
	m := newLeafMachine(t)
	m.start()
	room := leafRoom(1)
	cut := leafEntry(t, 9, store.NewRemoveNode(leafNow, "n1"))
	cut.Data = cut.Data[:len(cut.Data)-1]
	got := m.ApplyBatch([]*raft.Log{
		{Index: 4, Type: raft.LogConfiguration, Data: []byte("not a command")},
		leafEntry(t, 5, store.NewAssignHome(leafNow, room, "n1", 0, store.ReasonNew)),
		leafEntry(t, 6, store.NewAssignHome(leafNow, room, "n2", 0, store.ReasonNew)), // somebody else was faster
		{Index: 7, Type: raft.LogNoop},
		leafEntry(t, 8, store.NewAssignHome(leafNow, leafRoom(2), "n2", 0, store.ReasonNew)),
		cut, // malformed: refused, alike on every node
		{Index: 10, Type: raft.LogBarrier},
	})
	want := []error{nil, nil, store.ErrStaleEpoch, nil, nil, store.ErrMalformed, nil}
	if len(got) != len(want) {
		t.Fatalf("%d answers to %d entries", len(got), len(want))
	}
	for i, r := range got {
		if r := r.(response); r.err != nil || !errors.Is(r.result.Err, want[i]) {
			t.Errorf("entry %d: %v, %v, want %v", i+4, r.err, r.result.Err, want[i])
		}
	}
	if home := got[1].(response).result.Home; home.Node != "n1" || home.Epoch == 0 {
		t.Errorf("home %+v", home)
	}
	var indexes []uint64
	for _, e := range m.events {
		indexes = append(indexes, e.Index)
	}
	if !slices.Equal(indexes, []uint64{5, 8}) {
		t.Errorf("events of the entries %v", indexes)
	}
	if err := m.wait(context.Background(), 9); err != nil || m.failed != nil || m.index() != 9 {
		t.Errorf("%v, %v", err, m.failed)
	}
	if r := m.Apply(leafEntry(t, 11, store.NewRemoveNode(leafNow, "n9"))).(response); !errors.Is(r.result.Err, store.ErrNoSuchNode) && !errors.Is(r.result.Err, store.ErrNotFound) {
		t.Errorf("a single one: %+v", r)
	}
}

// What cannot be applied stops the node: nothing after it is applied, no
// snapshot is taken that would hide it, and nobody waits for ever.
func TestUnknownCommandStopsTheNode(t *testing.T) {
	m := newLeafMachine(t)
	m.start()
	waiting := make(chan error, 1)
	go func() { waiting <- m.wait(context.Background(), 6) }()
	future := leafEntry(t, 5, store.NewRemoveNode(leafNow, "n1"))
	future.Data = bytes.Replace(future.Data, []byte(store.OpRemoveNode), []byte("remove_moon"), 1)
	got := m.ApplyBatch([]*raft.Log{
		leafEntry(t, 4, store.NewAssignHome(leafNow, leafRoom(1), "n1", 0, store.ReasonNew)), future, {Index: 6, Type: raft.LogNoop},
	})
	for i, r := range got {
		if r := r.(response); !errors.Is(r.err, store.ErrUnknownCommand) {
			t.Errorf("entry %d: %+v", i+4, r)
		}
	}
	if len(m.failed) != 1 || !errors.Is(m.failed[0], store.ErrUnknownCommand) {
		t.Errorf("the node was told %v", m.failed)
	}
	if err := <-waiting; !errors.Is(err, store.ErrUnknownCommand) {
		t.Errorf("who waited got %v", err)
	}
	if err := m.wait(context.Background(), 3); err != nil {
		t.Errorf("what was applied before: %v", err)
	}
	if _, ok := m.state.Home(leafRoom(1)); ok || len(m.events) != 0 {
		t.Error("a part of the batch was applied")
	}
	if r := m.Apply(leafEntry(t, 7, store.NewAssignHome(leafNow, leafRoom(1), "n1", 0, store.ReasonNew))).(response); r.err == nil {
		t.Error("it goes on applying")
	}
	if s, err := m.Snapshot(); err == nil || s != nil {
		t.Error("it takes snapshots")
	}
	if len(m.failed) != 1 {
		t.Errorf("the node was stopped %d times", len(m.failed))
	}
}

func TestWaitForAnEntry(t *testing.T) {
	m := newLeafMachine(t)
	m.start()
	synctest.Test(t, func(t *testing.T) {
		// The channel belongs to this bubble.
		m.mu.Lock()
		m.changed = make(chan struct{})
		m.mu.Unlock()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := m.wait(ctx, 5); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("an entry that does not come: %v", err)
		}
		results := make(chan error, 2)
		for _, index := range []uint64{4, 6} {
			go func() { results <- m.wait(t.Context(), index) }()
		}
		synctest.Wait()
		m.advance(4)
		if err := <-results; err != nil {
			t.Error(err)
		}
		m.advance(5)
		synctest.Wait()
		select {
		case err := <-results:
			t.Errorf("waiting for 6 ended at 5: %v", err)
		default:
		}
		m.advance(7)
		if err := <-results; err != nil {
			t.Error(err)
		}
		m.advance(2) // never backwards
		if err := m.wait(t.Context(), 7); err != nil {
			t.Error(err)
		}
	})
}

// leafSink is where Raft keeps a snapshot.
type leafSink struct {
	bytes.Buffer
	room            int
	full, cancelErr error
	closed, gone    bool
}

func (s *leafSink) Write(b []byte) (int, error) {
	if s.full != nil && s.Len()+len(b) > s.room {
		return 0, s.full
	}
	return s.Buffer.Write(b)
}

func (s *leafSink) ID() string { return "leaf" }

func (s *leafSink) Close() error {
	s.closed = true
	return nil
}

func (s *leafSink) Cancel() error {
	s.gone = true
	return s.cancelErr
}

// A snapshot is the state at its index, whatever is applied afterwards, and
// makes another node's state the same.
func TestSnapshotAndRestore(t *testing.T) {
	m := newLeafMachine(t)
	m.start()
	m.Apply(leafEntry(t, 4, store.NewAssignHome(leafNow, leafRoom(1), "n1", 0, store.ReasonNew)))
	snap, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	m.Apply(leafEntry(t, 5, store.NewAssignHome(leafNow, leafRoom(2), "n2", 0, store.ReasonNew)))
	sink := new(leafSink)
	if err := snap.Persist(sink); err != nil {
		t.Fatal(err)
	}
	snap.Release()
	if !sink.closed || sink.gone {
		t.Error("the snapshot was not finished")
	}

	other := newLeafMachine(t)
	waiting := make(chan error, 1)
	go func() { waiting <- other.wait(context.Background(), 4) }()
	if err := other.Restore(io.NopCloser(&sink.Buffer)); err != nil {
		t.Fatal(err)
	}
	if err := <-waiting; err != nil {
		t.Error(err)
	}
	want, _ := m.state.Home(leafRoom(1))
	if got, ok := other.state.Home(leafRoom(1)); !ok || got != want {
		t.Errorf("home %+v, want %+v", got, want)
	}
	if _, ok := other.state.Home(leafRoom(2)); ok {
		t.Error("the snapshot holds what came later")
	}
	if len(other.events) != 1 || other.events[0].Kind != store.EventRestored || other.events[0].Index != 4 {
		t.Errorf("told %+v", other.events)
	}
	// The log goes on behind it.
	if r := other.Apply(leafEntry(t, 5, store.NewAssignHome(leafNow, leafRoom(2), "n2", 0, store.ReasonNew))).(response); r.err != nil || r.result.Err != nil {
		t.Errorf("%+v", r)
	}
	// A damaged one changes nothing.
	if err := other.Restore(io.NopCloser(strings.NewReader("talkdsnp"))); !errors.Is(err, store.ErrBadSnapshot) {
		t.Errorf("half a snapshot: %v", err)
	}
	if _, ok := other.state.Home(leafRoom(2)); !ok || len(other.events) != 2 {
		t.Error("half a snapshot changed the state")
	}
}

// When the disk is full the snapshot is taken back.
func TestSnapshotOnAFullDisk(t *testing.T) {
	full, stuck := errors.New("disk full"), errors.New("cannot remove")
	for _, cancelErr := range []error{nil, stuck} {
		m := newLeafMachine(t)
		m.start()
		snap, err := m.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		sink := &leafSink{room: 100, full: full, cancelErr: cancelErr}
		err = snap.Persist(sink)
		snap.Release()
		if !errors.Is(err, full) || cancelErr != nil && !errors.Is(err, cancelErr) {
			t.Errorf("%v", err)
		}
		if sink.closed || !sink.gone {
			t.Error("half a snapshot is kept")
		}
		if m.failed != nil {
			t.Errorf("the node stops: %v", m.failed)
		}
	}
}
