package signaling

import "sync"

// control is what a WebSocket says of itself: pings and pongs, RFC 6455 section 5.5. They
// go out before the next messages and as those do, so that who reads slowly is asked, and
// answered, when it has read what came before.
type control struct {
	mu     sync.Mutex
	ping   bool   // guarded by mu; is to go out
	pong   []byte // guarded by mu; as it is to go out; nil: there is none
	asked  bool   // guarded by mu; the last ping is without an answer
	before int64  // guarded by mu; what was acknowledged then
}

// answer has a pong go out, in place of one that has not gone: only the last ping has to
// be answered. The payload has 125 bytes at most.
func (c *control) answer(payload []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	const finalPong = 0x8a
	c.pong = append(append(c.pong[:0], finalPong, byte(len(payload))), payload...)
}

func (c *control) due() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ping || c.pong != nil
}

// appendTo takes what is due.
func (c *control) appendTo(b []byte) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	const finalPing = 0x89
	if c.ping {
		b = append(b, finalPing, 0)
	}
	b = append(b, c.pong...)
	c.ping, c.pong = false, nil
	return b
}

// ask has a ping go out, and is false if the last one is without an answer. It takes it for
// one as well that what was written before is still on its way and arrives: the ping has to
// wait behind all that. While something is being written nobody is asked: who takes nothing
// of that is given up by the one who writes.
func (o *outlet) ask() bool {
	if !o.mu.TryLock() {
		return true
	}
	defer o.mu.Unlock()
	acknowledged, all := o.settleLocked()
	c := &o.control
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asked && (all || acknowledged <= c.before) {
		return false
	}
	c.ping, c.asked, c.before = true, true, acknowledged
	return true
}

// answered tells that the client is there. What it has got is forgotten.
func (o *outlet) answered() {
	o.control.mu.Lock()
	o.control.asked = false
	o.control.mu.Unlock()
	if o.mu.TryLock() {
		o.settleLocked()
		o.mu.Unlock()
	}
}
