package udp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Port is the node's port for media: Sockets whose datagrams a mux gives to the
// WebRTC connections. It meets ice.UDPMux.
type Port struct {
	*Sockets
	singles   sync.Pool
	mux       mux
	datagrams sync.Pool
	closed    chan struct{}
	once      sync.Once
	readers   sync.WaitGroup
}

// Listen opens the sockets and begins to read; Close ends it.
func Listen(ctx context.Context, cfg Config) (*Port, error) {
	s, err := Open(ctx, "media_udp", cfg)
	if err != nil {
		return nil, err
	}
	p := &Port{Sockets: s, closed: make(chan struct{})}
	p.mux.init(p)
	p.singles.New = func() any { return &single{out: newOutlet(p.anySocket())} }
	p.datagrams.New = func() any { return new(datagram) }
	if err := s.metrics.register(p.collectors()...); err != nil {
		return nil, errors.Join(fmt.Errorf("udp: %w", err), s.Close())
	}
	for _, s := range p.sockets {
		p.readers.Go(func() { p.read(s) })
	}
	return p, nil
}

// Close closes the sockets and all connections, and returns when the goroutines
// are gone.
func (p *Port) Close() error {
	var err error
	p.once.Do(func() {
		close(p.closed)
		err = p.Sockets.Close()
		p.mux.close()
	})
	p.readers.Wait()
	return err
}

// single sends one datagram.
type single struct {
	out     outlet
	message [1]message
}

// write sends a single datagram at once. What finds no room is lost, as it may
// be anywhere on its way, and is no error.
func (p *Port) write(b []byte, to netip.AddrPort) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	s := p.singles.Get().(*single)
	defer p.singles.Put(s)
	s.message[0] = message{to: to, bytes: len(b), size: len(b), count: 1}
	_, err := s.out.send(b, s.message[:])
	if errors.Is(err, syscall.EAGAIN) && p.patient(s.out) {
		_, err = s.out.send(b, s.message[:])
	}
	switch {
	case err == nil:
		p.stats.single.Add(1)
	case errors.Is(err, syscall.EAGAIN):
		p.stats.full.Add(1)
	default:
		p.stats.refused.Add(1)
		return 0, fmt.Errorf("udp: %w", err)
	}
	return len(b), nil
}

// read runs until the socket is closed.
func (p *Port) read(s *socket) {
	r, d := newReader(s), &dispatcher{port: p}
	var batch [readBatch]*datagram
	for i := range batch {
		batch[i] = p.datagram()
	}
	for {
		n, err := r.read(&batch)
		select {
		case <-p.closed: // which is also a way to come to the end of read
			return
		default:
		}
		d.dispatch(batch[:n])
		if err != nil {
			time.Sleep(readPause)
		}
	}
}

func (p *Port) datagram() *datagram { return p.datagrams.Get().(*datagram) }

func (p *Port) collectors() []prometheus.Collector {
	const datagrams = "Datagrams through the port for media."
	const dropped = "Datagrams that were lost here: no room in the kernel in time, refused by it, a connection that does not read, of no connection, from more addresses than a client has, to one that does not answer."
	s, m := &p.stats, p.metrics
	return []prometheus.Collector{
		m.counter("datagrams_total", datagrams, prometheus.Labels{"direction": "in"}, &s.received),
		m.counter("datagrams_total", datagrams, prometheus.Labels{"direction": "out"}, &s.datagrams, &s.single),
		m.counter("dropped_total", dropped, prometheus.Labels{"reason": "full"}, &s.full),
		m.counter("dropped_total", dropped, prometheus.Labels{"reason": "refused"}, &s.refused),
		m.counter("dropped_total", dropped, prometheus.Labels{"reason": "queue"}, &s.queue),
		m.counter("dropped_total", dropped, prometheus.Labels{"reason": "unknown"}, &s.unknown),
		m.counter("dropped_total", dropped, prometheus.Labels{"reason": "addresses"}, &s.addresses),
		m.counter("dropped_total", dropped, prometheus.Labels{"reason": "unanswered"}, &s.unanswered),
	}
}
