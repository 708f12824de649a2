package media

import "sync"

// sourceQueue bounds what waits between a connection and its layer. A packet
// that finds it full is dropped and counted; it is asked for again as if it had
// been lost.
const sourceQueue = 512

// trackSource is the Source of a publisher's layer. Ingress puts packets in, all
// that came together at once; Read returns all that came meanwhile, so that a
// burst is forwarded as one batch.
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
}

func newTrackSource(s *section, dropped func()) *trackSource {
	t := &trackSource{payload: PayloadOpus, dropped: dropped}
	if s.kind == Video {
		t.payload = PayloadVP8
	}
	for id, uri := range s.ext {
		t.ext[id], _ = clusterExt(uri)
	}
	t.ready.L = &t.mu
	return t
}

func (t *trackSource) normalise(p *Packet) { p.normalise(t.payload, &t.ext) }

// deliver queues the fresh packets. What there is no room for is lost.
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
	t.ready.Signal()
	for _, p := range t.fresh[len(taken):] {
		p.Release()
		t.dropped()
	}
	clear(t.fresh)
	t.fresh = t.fresh[:0]
}

func (t *trackSource) fail(err error) {
	t.mu.Lock()
	if t.err == nil {
		t.err = err
	}
	t.mu.Unlock()
	t.ready.Broadcast()
}

// Read implements Source.
func (t *trackSource) Read(batch []*Packet) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.queue) == 0 && t.err == nil {
		t.ready.Wait()
	}
	if len(t.queue) == 0 {
		return 0, t.err
	}
	n := copy(batch, t.queue)
	rest := copy(t.queue, t.queue[n:])
	clear(t.queue[rest:])
	t.queue = t.queue[:rest]
	return n, nil
}

// Close implements Source. Ingress goes on, and what it delivers is dropped.
func (t *trackSource) Close() error {
	t.fail(ErrClosed)
	return nil
}
