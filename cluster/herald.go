package cluster

import (
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// herald tells the other servers at once what was committed. Raft itself says so
// with its next message, up to 2 raftCommit later, and as long nobody at another
// server sees what was decided there.
//
// What it sends is what Raft would send next: a message without entries, of the
// leader of the term, that names the last entry which is committed. A server that
// has another entry in its place, or none, refuses it.
type herald struct {
	self      raft.Server
	transport *raft.NetworkTransport

	mu     sync.Mutex // guards what follows
	word   map[raft.ServerID]*word
	closed bool
	tells  sync.WaitGroup
}

// word is what one server is to be told.
type word struct {
	index, term uint64
	telling     bool
}

func newHerald(self raft.Server, t *raft.NetworkTransport) *herald {
	return &herald{self: self, transport: t, word: make(map[raft.ServerID]*word)}
}

// committed tells the others that the entry at this index, of a term in which this
// node leads, is committed. While a server is being told something the newest
// waits: it says all.
func (h *herald) committed(index, term uint64, servers []raft.Server) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	for _, s := range servers {
		w := h.word[s.ID]
		if w == nil {
			w = new(word)
			h.word[s.ID] = w
		}
		if s.ID == h.self.ID || index <= w.index {
			continue
		}
		if w.index, w.term = index, term; !w.telling {
			w.telling = true
			h.tells.Go(func() { h.tell(s, w) })
		}
	}
}

// tell tells one server until there is nothing new.
func (h *herald) tell(to raft.Server, w *word) {
	from := h.transport.EncodePeer(h.self.ID, h.self.Address)
	var told uint64
	for {
		h.mu.Lock()
		index, term := w.index, w.term
		w.telling = index > told
		h.mu.Unlock()
		if index <= told {
			return
		}
		message := &raft.AppendEntriesRequest{
			RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(h.self.ID), Addr: from},
			Term:      term, PrevLogEntry: index, PrevLogTerm: term, LeaderCommitIndex: index,
		}
		// It does not come the way of the entry, and perhaps before it: once more then.
		for range 2 {
			var reply raft.AppendEntriesResponse
			err := h.transport.AppendEntries(to.ID, to.Address, message, &reply)
			if err != nil || reply.Success || reply.LastLog >= index {
				break // Raft will say it again
			}
			time.Sleep(heraldAgain)
		}
		told = index
	}
}

// close waits until nobody is told anything any more.
func (h *herald) close() {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.tells.Wait()
}
