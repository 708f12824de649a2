package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// Limits of streams of events.
const (
	maxStreams     = 32
	keepalive      = 15 * time.Second
	eventWriteTime = 10 * time.Second // a reader that takes longer is gone
	// factsInterval is how often a stream that brings facts looks for new ones.
	factsInterval = 2 * time.Second
	// opWait is how long the events of an operation may take from the node
	// where it was ordered to the one where they are read.
	opWait = 2 * time.Second
)

const eventStream = "text/event-stream; charset=utf-8"

// AdminEvent is something that happened in the cluster. Only the fields of its
// kind are set.
type AdminEvent struct {
	ID     string    `json:"id"` // of this node's stream; other nodes give other ids
	At     time.Time `json:"at"`
	Kind   string    `json:"kind"`
	Op     string    `json:"op,omitempty"` // the operation that this belongs to
	Phase  Phase     `json:"phase,omitempty"`
	Room   string    `json:"room,omitempty"`
	Node   string    `json:"node,omitempty"`
	Home   string    `json:"home,omitempty"`
	From   string    `json:"from,omitempty"` // the home before
	Epoch  uint64    `json:"epoch,omitempty"`
	Reason string    `json:"reason,omitempty"` // of a placement: new, anew, move or drain
	Left   *Left     `json:"left,omitempty"`
	Detail string    `json:"detail,omitempty"` // the whole in plain words
}

// Phase is how far an operation is.
type Phase string

// Phases of an operation; the last two end it.
const (
	PhaseAccepted Phase = "accepted"
	PhaseProgress Phase = "progress"
	PhaseDone     Phase = "done"
	PhaseFailed   Phase = "failed"
)

// Ends tells whether the operation is over.
func (p Phase) Ends() bool { return p == PhaseDone || p == PhaseFailed }

// Left is what an operation has still to do.
type Left struct {
	Rooms    int `json:"rooms"`
	Sessions int `json:"sessions"`
}

// selection is the events that a reader wants.
type selection struct {
	since string // an event's id, a time, or "0" for all that is known; "": what comes
	op    string // "": all
	facts bool   // the cluster's state too
}

func selectionOf(r *http.Request) (selection, error) {
	values := r.URL.Query()
	s := selection{since: values.Get("since"), op: values.Get("op"), facts: values.Has("facts")}
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		s.since = last
	}
	if s.op != "" && s.since == "" {
		s.since = "0"
	}
	if len(s.since) > maxSearch || len(s.op) > maxSearch {
		return s, refuse(http.StatusBadRequest, "", fmt.Sprintf("since and op have at most %d bytes", maxSearch))
	}
	return s, nil
}

// past are the events of the history that a reader wants. An id that is not in
// it belongs to another node's history or is older than all: then all are new.
func (s selection) past(history []AdminEvent) []AdminEvent {
	if s.since == "" {
		return nil
	}
	if at, err := time.Parse(time.RFC3339, s.since); err == nil {
		history = slices.DeleteFunc(slices.Clone(history), func(e AdminEvent) bool { return e.At.Before(at) })
	} else if i := slices.IndexFunc(history, func(e AdminEvent) bool { return e.ID == s.since }); i >= 0 {
		history = history[i+1:]
	}
	return slices.DeleteFunc(slices.Clone(history), func(e AdminEvent) bool { return !s.wants(e) })
}

func (s selection) wants(e AdminEvent) bool { return s.op == "" || s.op == e.Op }

// events streams what happened and what happens as server-sent events (the
// "text/event-stream" of the HTML standard), until the reader, the source or the
// end of the operation that is followed ends it.
func (a *Admin) events(w http.ResponseWriter, r *http.Request) {
	wanted, err := selectionOf(r)
	if err != nil {
		fail := adminFailure(err)
		writeAdminError(w, fail.status, fail.message)
		return
	}
	if r.Method != http.MethodGet { // HEAD: there is nothing to wait for
		w.Header().Set("Content-Type", eventStream)
		return
	}
	select {
	case a.streams <- struct{}{}:
		defer func() { <-a.streams }()
	default:
		writeAdminError(w, http.StatusServiceUnavailable, fmt.Sprintf("%d streams of events are open already, close one", maxStreams))
		return
	}
	history, events, cancel := a.deps.Events.Subscribe()
	defer cancel()
	out := &eventWriter{w: w, control: http.NewResponseController(w)}
	begun := wanted.past(history)
	if wanted.op != "" && !slices.ContainsFunc(history, wanted.wants) {
		first, ok := awaitOp(r.Context(), wanted, events)
		if !ok {
			writeAdminError(w, http.StatusNotFound,
				"this node knows no such operation: it is long over, or was ordered at a node that could not tell of it; GET /admin/v1/cluster has the state")
			return
		}
		begun = append(begun, first)
	}
	w.Header().Set("Content-Type", eventStream)
	w.Header().Set("X-Accel-Buffering", "no") // a proxy must not collect them
	w.WriteHeader(http.StatusOK)
	out.comment("talkd events")
	for _, e := range begun {
		out.event(e)
	}
	// Nothing follows the end of an operation.
	if wanted.op != "" && slices.ContainsFunc(history, func(e AdminEvent) bool { return e.Op == wanted.op && e.Phase.Ends() }) {
		out.flush()
		return
	}
	a.follow(r.Context(), out, wanted, events)
}

// awaitOp waits for the first event of an operation that was ordered at another
// node just now.
func awaitOp(ctx context.Context, wanted selection, events <-chan AdminEvent) (AdminEvent, bool) {
	timeout := time.NewTimer(opWait)
	defer timeout.Stop()
	for {
		select {
		case e, ok := <-events:
			if !ok || wanted.wants(e) {
				return e, ok
			}
		case <-timeout.C:
			return AdminEvent{}, false
		case <-ctx.Done():
			return AdminEvent{}, false
		}
	}
}

// follow writes what happens.
func (a *Admin) follow(ctx context.Context, out *eventWriter, wanted selection, events <-chan AdminEvent) {
	alive := time.NewTicker(keepalive)
	defer alive.Stop()
	var look <-chan time.Time
	var facts []byte
	if wanted.facts {
		tick := time.NewTicker(factsInterval)
		defer tick.Stop()
		look = tick.C
		facts = out.facts(a.clusterView(ctx), nil)
	}
	for out.flush() {
		select {
		case <-ctx.Done():
			return
		case <-alive.C:
			out.comment("alive")
		case <-look:
			facts = out.facts(a.clusterView(ctx), facts)
		case e, ok := <-events:
			if !ok {
				return
			}
			if !wanted.wants(e) {
				continue
			}
			out.event(e)
			if wanted.op != "" && e.Phase.Ends() {
				out.flush()
				return
			}
		}
	}
}

// eventWriter collects what is to be sent, and sends it by flush.
type eventWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	text    bytes.Buffer
}

func (o *eventWriter) comment(text string) { fmt.Fprintf(&o.text, ": %s\n\n", text) }

func (o *eventWriter) event(e AdminEvent) {
	e.At = e.At.UTC()
	b, err := json.Marshal(e)
	if err != nil { // a time that RFC 3339 cannot write
		return
	}
	fmt.Fprintf(&o.text, "id: %s\ndata: %s\n\n", e.ID, b)
}

// facts writes the cluster's state unless it is that of before, and returns it.
// It has no id: whoever comes back gets the newest anyway.
func (o *eventWriter) facts(v ClusterView, before []byte) []byte {
	b, err := json.Marshal(v)
	if err != nil || bytes.Equal(b, before) {
		return before
	}
	fmt.Fprintf(&o.text, "event: cluster\ndata: %s\n\n", b)
	return b
}

// flush tells whether the reader is still there.
func (o *eventWriter) flush() bool {
	if o.text.Len() == 0 {
		return true
	}
	// Not each writer has deadlines; on such a one the server's stand. One
	// that passes while nothing is written would end an HTTP/2 stream.
	_ = o.control.SetWriteDeadline(time.Now().Add(eventWriteTime))
	defer func() { _ = o.control.SetWriteDeadline(time.Time{}) }()
	_, err := o.text.WriteTo(o.w)
	return err == nil && o.control.Flush() == nil
}
