// Package guesses counts wrong guesses of secrets, for all nodes as one: whoever
// tries a few at each of them is as slow as who tries all at one.
//
//	door ─ Wait ─▶ Book        how long this network has to wait, if at all: before anything is compared
//	door ─ Wrong ─▶ Book ─┬─▶ counter of (door, subject, network)
//	                      └─ Tell, to each living node at once ─▶ their Books
//
// A counter is of a door (what is guessed), a subject (whose it is) and a
// network (who guesses: a /24 of IPv4, a /64 of IPv6). The first guesses cost nothing,
// then each doubles the pause, and time forgets them. So nobody can lock an account
// for those who come from elsewhere.
//
// All of it is in memory. A node that starts asks nobody: the others still count, and
// tell it of what comes. A node that cannot be reached is not told later either, as
// what comes late would count as new. Nothing of it is decided by Raft: an entry of
// the log for each guess would be an attack of its own.
//
// One goroutine for each node that is being told something, and that of Run, which
// waits for them.
package guesses

import (
	"context"
	"crypto/sha256"
	"net/netip"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/talkd/talkd/store"
)

// Door is where somebody guesses.
type Door = string

// The doors. The subject keeps those apart who are not the same attack: a name as it
// was typed, a backend, or nothing.
const (
	Hello     Door = "hello"      // tickets, tokens and resume ids of signaling; the subject is the kind, and the backend
	Account   Door = "account"    // passwords of accounts; the subject is the name
	JoinToken Door = "join_token" // of nodes; no subject
	TURNKey   Door = "turn_key"   // API keys of services that want TURN credentials; no subject
)

// rule says how long one waits.
type rule struct {
	free           int           // guesses that cost nothing
	first, longest time.Duration // pause after the next one; each more doubles it
	forget         time.Duration // after the last guess
}

// ruleOf is the rule of a door; false if it is one that this node does not have.
func ruleOf(d Door) (rule, bool) {
	switch d {
	case Hello:
		// A web client whose ticket is refused comes back about once a second, with
		// two hellos each time, and many people may share a network.
		return rule{free: 40, first: time.Second, longest: 25 * time.Second, forget: 30 * time.Minute}, true
	case Account:
		return rule{free: 5, first: time.Second, longest: 5 * time.Minute, forget: 30 * time.Minute}, true
	case JoinToken, TURNKey:
		return rule{free: 10, first: time.Second, longest: time.Minute, forget: 30 * time.Minute}, true
	}
	return rule{}, false
}

// pause after n wrong guesses.
func (r rule) pause(n int) time.Duration {
	over := n - r.free
	switch {
	case over < 0:
		return 0
	case over > 20: // it would not fit
		return r.longest
	}
	return min(r.first<<over, r.longest)
}

// Limits of what is remembered.
const (
	maxEntries  = 50_000
	maxWrong    = 1000 // of one counter; the pause is the longest one long before
	evictProbe  = 16
	expireEvery = time.Minute
)

// Peers connects to other nodes, met by rpc.Mesh.
type Peers interface {
	Dial(store.NodeID) (grpc.ClientConnInterface, error)
}

// Config is what a Book needs. All but Peers and Others may be left out, and both of
// these for a book of one node.
type Config struct {
	Peers  Peers
	Others func() []store.NodeID // those alive
	Now    func() time.Time
	// Registerer of metrics.
	Registerer prometheus.Registerer
}

// Book has the counters. Its methods may be called at the same time.
type Book struct {
	config  Config
	now     func() time.Time
	metrics *metrics

	mu      sync.Mutex // guards what follows
	entries map[key]entry
	peers   map[store.NodeID]*peer // of those that are being told something
	ctx     context.Context        // of Run; nil when nobody is to be told
	tells   sync.WaitGroup         // added to under mu while ctx is there
}

// key is what is counted apart. The subject is a hash: it is told to other nodes, and
// anybody may type anything of any length.
type key struct {
	door    Door
	subject [16]byte
	network netip.Prefix
}

type entry struct {
	wrong int
	open  int // tries here of which nothing is known yet; they count as wrong
	last  time.Time
}

// New makes a book.
func New(c Config) *Book {
	b := &Book{config: c, now: c.Now, entries: make(map[key]entry), peers: make(map[store.NodeID]*peer)}
	if b.now == nil {
		b.now = time.Now
	}
	b.metrics = newMetrics(c.Registerer, b.size)
	return b
}

// Run forgets, and lets guesses be told, until ctx ends.
func (b *Book) Run(ctx context.Context) error {
	b.mu.Lock()
	b.ctx = ctx
	b.mu.Unlock()
	tick := time.NewTicker(expireEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
			b.expire()
		case <-ctx.Done():
		}
	}
	b.mu.Lock()
	b.ctx = nil
	b.mu.Unlock()
	b.tells.Wait()
	return nil
}

// Wait is how long somebody has to wait before what they say may be compared; 0: not
// at all.
func (b *Book) Wait(door Door, subject string, from netip.Addr) time.Duration {
	return b.wait(keyOf(door, subject, from), false)
}

// Try is Wait for doors where comparing takes long or many try at the same time. With 0
// the try counts as a wrong one, here, until Wrong, Right or Undo says what came of it.
func (b *Book) Try(door Door, subject string, from netip.Addr) time.Duration {
	return b.wait(keyOf(door, subject, from), true)
}

// Wrong counts a guess, here and at all other nodes.
func (b *Book) Wrong(door Door, subject string, from netip.Addr) {
	b.metrics.wrong.WithLabelValues(door).Inc()
	k := keyOf(door, subject, from)
	b.end(k)
	b.count(k, change{wrong: 1})
	b.tell(k, change{wrong: 1})
}

// Right forgets the wrong guesses of somebody who knew the secret, everywhere. It is
// for doors whose subject is one secret: who knows another one must not come by it.
func (b *Book) Right(door Door, subject string, from netip.Addr) {
	k := keyOf(door, subject, from)
	b.end(k)
	b.mu.Lock()
	e, known := b.entries[k]
	b.mu.Unlock()
	if known && e.wrong > 0 {
		b.count(k, change{right: true})
		b.tell(k, change{right: true})
	}
}

// Undo ends a try whose guess was not looked at.
func (b *Book) Undo(door Door, subject string, from netip.Addr) {
	b.end(keyOf(door, subject, from))
}

func (b *Book) wait(k key, try bool) time.Duration {
	now := b.now()
	r, _ := ruleOf(k.door)
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entries[k]
	if now.Sub(e.last) >= r.forget {
		e = entry{}
	}
	if wait := e.last.Add(r.pause(e.wrong + e.open)).Sub(now); !e.last.IsZero() && wait > 0 {
		b.metrics.refused.WithLabelValues(k.door).Inc()
		return wait
	}
	if try {
		e.open++
		e.last = now
		b.putLocked(k, e)
	}
	return 0
}

// change is what happened to a counter: it begins anew, and then so many were wrong.
type change struct {
	right bool
	wrong int
}

func (c change) add(later change) change {
	if later.right {
		return later
	}
	c.wrong = min(c.wrong+later.wrong, maxWrong)
	return c
}

func (b *Book) count(k key, c change) {
	now := b.now()
	r, _ := ruleOf(k.door)
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entries[k]
	if now.Sub(e.last) >= r.forget || c.right {
		e = entry{open: e.open, last: e.last}
	}
	if c.wrong > 0 {
		e.wrong, e.last = min(e.wrong+c.wrong, maxWrong), now
	}
	b.putLocked(k, e)
}

// end says that the outcome of a try is known, if there was one.
func (b *Book) end(k key) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.entries[k]; e.open > 0 {
		e.open--
		b.putLocked(k, e)
	}
}

func (b *Book) putLocked(k key, e entry) {
	if e.wrong == 0 && e.open == 0 {
		delete(b.entries, k)
		return
	}
	if _, known := b.entries[k]; !known && len(b.entries) >= maxEntries {
		b.evictLocked()
	}
	b.entries[k] = e
}

// evictLocked makes room: of a few entries, which the map hands out in no order, the
// one with the fewest guesses goes, and of several that was quiet for longest. Those
// that come in masses, one guess each, so push out each other.
func (b *Book) evictLocked() {
	var out key
	var least entry
	n := 0
	for k, e := range b.entries {
		if n == 0 || e.wrong < least.wrong || e.wrong == least.wrong && e.last.Before(least.last) {
			out, least = k, e
		}
		if n++; n == evictProbe {
			break
		}
	}
	delete(b.entries, out)
}

func (b *Book) expire() {
	now := b.now()
	b.mu.Lock()
	defer b.mu.Unlock()
	for k, e := range b.entries {
		if r, _ := ruleOf(k.door); now.Sub(e.last) >= r.forget {
			delete(b.entries, k)
		}
	}
}

func (b *Book) size() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.entries)
}

func keyOf(door Door, subject string, from netip.Addr) key {
	hash := sha256.Sum256([]byte(subject))
	return key{door, [16]byte(hash[:16]), network(from)}
}

// network is the part of an address that one subscriber has: a /24 or a /64.
func network(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 64
	if a.Is4() {
		bits = 24
	}
	p, err := a.Prefix(bits)
	if err != nil { // no address: all of those share one counter
		return netip.Prefix{}
	}
	return p
}
