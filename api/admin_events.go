package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// Limits of streams of events.
const (
	maxStreams     = 32
	keepalive      = 15 * time.Second
	eventWriteTime = 10 * time.Second // a reader that takes longer is gone
)

const eventStream = "text/event-stream; charset=utf-8"

// AdminEvent is something that happened in the cluster. Only the fields of its
// kind are set.
type AdminEvent struct {
	At     time.Time `json:"at"`
	Kind   string    `json:"kind"`
	Room   string    `json:"room,omitempty"`
	Node   string    `json:"node,omitempty"`
	Home   string    `json:"home,omitempty"`
	Epoch  uint64    `json:"epoch,omitempty"`
	Detail string    `json:"detail,omitempty"`
}

// events streams what happens from now on as server-sent events (the
// "text/event-stream" of the HTML standard), until the reader or the source
// ends it.
func (a *Admin) events(w http.ResponseWriter, r *http.Request) {
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
	events, cancel := a.deps.Events.Subscribe()
	defer cancel()
	w.Header().Set("Content-Type", eventStream)
	w.Header().Set("X-Accel-Buffering", "no") // a proxy must not collect them
	w.WriteHeader(http.StatusOK)
	control := http.NewResponseController(w)
	write := func(text []byte) bool {
		// Not each writer has deadlines; on such a one the server's stand. One
		// that passes while nothing is written would end an HTTP/2 stream.
		_ = control.SetWriteDeadline(time.Now().Add(eventWriteTime))
		defer func() { _ = control.SetWriteDeadline(time.Time{}) }()
		if _, err := w.Write(text); err != nil {
			return false
		}
		return control.Flush() == nil
	}
	if !write([]byte(": talkd events\n\n")) {
		return
	}
	alive := time.NewTicker(keepalive)
	defer alive.Stop()
	for {
		var text []byte
		select {
		case <-r.Context().Done():
			return
		case <-alive.C:
			text = []byte(": alive\n\n")
		case e, ok := <-events:
			if !ok {
				return
			}
			e.At = e.At.UTC()
			b, err := json.Marshal(e)
			if err != nil { // a time that RFC 3339 cannot write
				continue
			}
			text = fmt.Appendf(nil, "data: %s\n\n", b)
		}
		if !write(text) {
			return
		}
	}
}
