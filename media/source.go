package media

import "sync"

// sourceQueue bounds what waits between a connection and its layer. A packet
// that finds it full is dropped and counted; it is asked for again as if it had
// been lost.
const sourceQueue = 512

// trackSource is the Source of a publisher's layer. Ingress puts packets in, all
// that came together at once, and forwards them itself while that is little work,
// as it is for meetings of a few: waking somebody for it would cost more. Else
// the layer's goroutine does, which reads all that came meanwhile, so that a burst
// is forwarded as one batch. One at a time has the turn, so that the order stays.
type trackSource struct {
	payload uint8 // the cluster's
	ext     [256]uint8
	dropped func()
	asked   *askedLayer // nil when lost packets are not asked for
	fresh   []*Packet   // of ingress: to be delivered

	mu    sync.Mutex
	ready sync.Cond // of mu
	queue []*Packet // guarded by mu
	err   error     // guarded by mu
	layer *layer    // guarded by mu; nil before its goroutine runs
	turn  turn      // guarded by mu

	// Of who has the turn in ingress.
	light [lightWork]*Packet
	left  burst // found no room
	flush func(burst)
}

// turn is who forwards.
type turn int

const (
	nobody    turn = iota
	goroutine      // the layer's, since its last Read
	bringer        // who brings the packets
)

func newTrackSource(s *section, dropped func()) *trackSource {
	t := &trackSource{payload: s.format.payload, dropped: dropped}
	for id, uri := range s.ext {
		t.ext[id], _ = clusterExt(uri)
	}
	t.ready.L = &t.mu
	t.flush = t.tryFlush
	return t
}

func (t *trackSource) normalise(p *Packet) { p.normalise(t.payload, &t.ext) }

// deliver queues the fresh packets. What there is no room for is lost. Whoever
// calls it sees to it that they are forwarded.
func (t *trackSource) deliver() {
	t.mu.Lock()
	room := sourceQueue - len(t.queue)
	if t.err != nil {
		room = 0
	}
	taken := t.fresh[:min(len(t.fresh), room)]
	for _, p := range taken {
		if t.asked != nil {
			t.asked.arrived(p.Sequence, p.Arrival)
		}
	}
	t.queue = append(t.queue, taken...)
	t.mu.Unlock()
	for _, p := range t.fresh[len(taken):] {
		p.Release()
		t.dropped()
	}
	clear(t.fresh)
	t.fresh = t.fresh[:0]
}

// feed lets packets be forwarded by a layer without its goroutine.
func (t *trackSource) feed(l *layer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.layer = l
}

// wake lets the layer's goroutine forward what is queued.
func (t *trackSource) wake() { t.ready.Signal() }

// forward forwards what is queued, or leaves it to the layer's goroutine.
func (t *trackSource) forward() {
	l, batch := t.take()
	if len(batch) == 0 {
		return
	}
	defer t.done() // also after a panic
	l.forward(batch, t.flush)
}

// take returns what is little work, with the turn.
func (t *trackSource) take() (*layer, []*Packet) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.queue) == 0 || t.turn != nobody { // who has the turn looks again
		return nil, nil
	}
	if t.layer != nil {
		// Nobody is woken for what is not heard.
		t.queue = t.layer.screen(t.queue)
	}
	switch {
	case len(t.queue) == 0:
		return nil, nil
	case t.layer == nil || !t.layer.light(len(t.queue)):
		t.ready.Signal()
		return nil, nil
	}
	t.turn = bringer
	return t.layer, t.light[:t.takeLocked(t.light[:])]
}

// tryFlush sends what was sealed, and keeps what finds no room.
func (t *trackSource) tryFlush(b burst) {
	if b.TryFlush() {
		b.Release()
	} else {
		t.left = b
	}
}

// done gives the turn back. Who brings packets must not wait for room: that is
// left to somebody else, with the turn.
func (t *trackSource) done() {
	b := t.left
	if b == nil {
		t.pass()
		return
	}
	t.left = nil
	go func() {
		b.Flush()
		b.Release()
		t.pass()
	}()
}

func (t *trackSource) pass() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.turn = nobody
	if len(t.queue) > 0 || t.err != nil {
		t.ready.Signal()
	}
}

func (t *trackSource) fail(err error) {
	t.mu.Lock()
	if t.err == nil {
		t.err = err
	}
	t.mu.Unlock()
	t.ready.Broadcast()
}

// Read implements Source, for the layer's goroutine.
func (t *trackSource) Read(batch []*Packet) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.turn == goroutine {
		t.turn = nobody
	}
	for t.turn != nobody || len(t.queue) == 0 && t.err == nil {
		t.ready.Wait()
	}
	if len(t.queue) == 0 {
		return 0, t.err
	}
	t.turn = goroutine
	return t.takeLocked(batch), nil
}

func (t *trackSource) takeLocked(batch []*Packet) int {
	n := copy(batch, t.queue)
	rest := copy(t.queue, t.queue[n:])
	clear(t.queue[rest:])
	t.queue = t.queue[:rest]
	return n
}

// Close implements Source. Ingress goes on, and what it delivers is dropped.
func (t *trackSource) Close() error {
	t.fail(ErrClosed)
	return nil
}
