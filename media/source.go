package media

import (
	"errors"
	"net"
	"sync"
	"time"

	"github.com/pion/webrtc/v4"
)

// sourceQueue bounds what waits between a connection and its layer. A packet
// that finds it full is dropped and counted; it is asked for again as if it had
// been lost.
const sourceQueue = 512

// pollInterval is how often it is looked whether missing packets came by RTX,
// while nothing else comes.
const pollInterval = 10 * time.Millisecond

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
	asked   *askedLayer // nil when lost packets are not asked for
	polling bool        // of receive

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
			switch {
			case errors.Is(err, webrtc.ErrCodecNotFound): // a payload type that was not negotiated
			case t.polling && timeout(err):
				t.poll(t.asked.stream.Missing())
			default:
				t.fail(err)
				return
			}
			continue
		}
		if p.Parse(n) != nil || p.PayloadType() != t.offered {
			p.Release()
			continue
		}
		p.normalise(t.payload, &t.ext)
		p.Arrival = time.Now()
		seq, now := p.Sequence, p.Arrival // the packet is the reader's once it is queued
		if t.put(p) && t.asked != nil {
			t.poll(t.asked.arrived(seq, now))
		}
	}
}

// poll makes the next read end soon, or not any more. The library hands out what
// came by RTX only when a read begins, and a sender may have nothing else to
// send: without this the last picture of a screen would stay incomplete.
func (t *trackSource) poll(on bool) {
	switch {
	case on:
		_ = t.track.SetReadDeadline(time.Now().Add(pollInterval)) // fails with the read
	case t.polling:
		_ = t.track.SetReadDeadline(time.Time{})
	}
	t.polling = on
}

func timeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// put tells whether there was room.
func (t *trackSource) put(p *Packet) bool {
	t.mu.Lock()
	full := t.err != nil || len(t.queue) >= sourceQueue
	if !full {
		t.queue = append(t.queue, p)
	}
	t.mu.Unlock()
	if full {
		p.Release()
		t.dropped()
		return false
	}
	t.ready.Signal()
	return true
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
