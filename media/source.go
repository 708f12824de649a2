package media

import (
	"errors"
	"sync"
	"time"

	"github.com/pion/webrtc/v4"
)

// sourceQueue bounds what waits between a connection and its layer. A packet
// that finds it full is dropped and counted; it is asked for again as if it had
// been lost.
const sourceQueue = 512

// trackSource is the Source of a publisher's layer. Its goroutine (receive)
// reads the connection packet by packet; Read returns all that came meanwhile,
// so that a burst is forwarded as one batch.
type trackSource struct {
	track   *webrtc.TrackRemote
	pool    *Pool
	offered uint8 // the publisher's payload type
	payload uint8 // the cluster's
	ext     [256]uint8
	dropped func()

	mu    sync.Mutex
	ready sync.Cond // of mu
	queue []*Packet // guarded by mu
	err   error     // guarded by mu
}

func newTrackSource(track *webrtc.TrackRemote, s *section, pool *Pool, dropped func()) *trackSource {
	t := &trackSource{track: track, pool: pool, offered: s.payload, payload: PayloadOpus, dropped: dropped}
	if s.kind == Video {
		t.payload = PayloadVP8
	}
	for id, uri := range s.ext {
		t.ext[id], _ = clusterExt(uri)
	}
	t.ready.L = &t.mu
	return t
}

// receive runs until the connection ends.
func (t *trackSource) receive() {
	for {
		p := t.pool.Get()
		n, _, err := t.track.Read(p.Buffer())
		if err != nil {
			p.Release()
			if errors.Is(err, webrtc.ErrCodecNotFound) {
				continue // a payload type that was not negotiated
			}
			t.fail(err)
			return
		}
		if p.Parse(n) != nil || p.PayloadType() != t.offered {
			p.Release()
			continue
		}
		p.normalise(t.payload, &t.ext)
		p.Arrival = time.Now()
		t.put(p)
	}
}

func (t *trackSource) put(p *Packet) {
	t.mu.Lock()
	full := t.err != nil || len(t.queue) >= sourceQueue
	if !full {
		t.queue = append(t.queue, p)
	}
	t.mu.Unlock()
	if full {
		p.Release()
		t.dropped()
		return
	}
	t.ready.Signal()
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

// Close implements Source. The goroutine ends with the connection.
func (t *trackSource) Close() error {
	t.fail(ErrClosed)
	return nil
}
