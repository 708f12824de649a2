package relay

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"math"
	"sync"
	"sync/atomic"

	"github.com/talkd/talkd/store"
)

// link is a pair of keys between this node and another, one for each
// direction. A node that pulls agrees on one with the node it pulls from; two
// nodes that pull from each other have two. Both ends forget it with the
// process, so no key is used by two processes.
type link struct {
	peer store.NodeID
	in   cipher.AEAD
	out  cipher.AEAD
	// inEpoch is this node's name for the key of what comes in, outEpoch the
	// other's for the key of what goes out.
	inEpoch, outEpoch uint32

	ports   map[uint32]*port // by stream; guarded by table.mu
	retired bool             // guarded by table.mu; goes with its last port
	next    uint32           // guarded by table.mu; as receiver: the next stream id
	used    window           // guarded by table.mu; as sender: stream ids that were taken
}

// port is where the frames of one stream go: to a layer of a pull, or, at the
// sender, to a layer of a flow.
type port struct {
	link   *link
	stream uint32
	in     *inLayer  // nil at the sender
	out    *outLayer // nil at the receiver

	window window // of the goroutine that reads the socket
	// top is the highest counter seen, accepted the number of frames: what is
	// between them was lost on the way.
	top, accepted atomic.Uint64
}

func (p *port) lost() uint64 {
	// accepted first: a frame between the two loads must not make it negative.
	accepted := p.accepted.Load()
	return max(p.top.Load(), accepted) - accepted
}

// table finds the port of a frame.
type table struct {
	mu    sync.RWMutex
	links map[uint32]*link // by inEpoch; guarded by mu
}

// add takes a link in under an epoch that names it alone.
func (t *table) add(l *link) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.links == nil {
		t.links = make(map[uint32]*link)
	}
	for l.inEpoch == 0 || t.links[l.inEpoch] != nil {
		epoch, err := newEpoch()
		if err != nil {
			return err
		}
		l.inEpoch = epoch
	}
	l.ports = make(map[uint32]*port)
	l.next = 1
	t.links[l.inEpoch] = l
	return nil
}

// retire lets a link end with its last port.
func (t *table) retire(l *link) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l.retired = true
	t.dropLocked(l)
}

// reserve opens ports with the next stream ids of the link, as receiver. It is
// false when the link is retired or its ids are used up.
func (t *table) reserve(l *link, ports []*port) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l.retired || l.next > math.MaxUint32-uint32(len(ports)) {
		return false
	}
	for _, p := range ports {
		p.stream = l.next
		l.ports[l.next] = p
		l.next++
	}
	return true
}

// take opens ports with the stream ids that the receiver chose. It is false
// when one of them was taken before: its nonces would be used twice.
func (t *table) take(l *link, first uint32, ports []*port) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l.retired || first > math.MaxUint32-uint32(len(ports)) {
		return false
	}
	for i := range ports {
		if !l.used.fresh(uint64(first) + uint64(i)) {
			return false
		}
	}
	for i, p := range ports {
		p.stream = first + uint32(i)
		l.used.mark(uint64(p.stream))
		l.ports[p.stream] = p
	}
	return true
}

// release closes ports.
func (t *table) release(l *link, ports []*port) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range ports {
		delete(l.ports, p.stream)
	}
	t.dropLocked(l)
}

func (t *table) dropLocked(l *link) {
	if l.retired && len(l.ports) == 0 {
		delete(t.links, l.inEpoch)
	}
}

// find is false in known when the epoch is unknown; the port is nil when the
// stream is.
func (t *table) find(epoch, stream uint32) (p *port, known bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	l := t.links[epoch]
	if l == nil {
		return nil, false
	}
	return l.ports[stream], true
}

// newEpoch is random, so that a frame for a process that was before this one
// meets no key.
func newEpoch() (uint32, error) {
	var b [4]byte
	_, err := rand.Read(b[:])
	return binary.BigEndian.Uint32(b[:]), err
}

func newKey() (key []byte, aead cipher.AEAD, err error) {
	key = make([]byte, keyLen)
	if _, err := rand.Read(key); err != nil {
		return nil, nil, err
	}
	aead, err = newAEAD(key)
	return key, aead, err
}
