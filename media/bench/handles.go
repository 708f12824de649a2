//go:build linux

package main

import "sync"

// handles gives what a forwarder made ids by which the other process asks for it.
type handles[T any] struct {
	mu   sync.Mutex
	rows []T // guarded by mu
}

func (h *handles[T]) add(row T) (id int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.rows = append(h.rows, row)
	return len(h.rows) - 1
}

func (h *handles[T]) get(id int) T {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.rows[id]
}
