//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// session is a forwarding process with publishers and receivers connected to it.
type session struct {
	c          Case
	p          *process
	publishers []publisher
	receivers  []*receiver
	idle       idling
}

// measureWithin bounds what is done with one session.
const measureWithin = 60 * time.Second

// connect starts a variant of the forwarder and all that a case needs.
func connect(ctx context.Context, c Case, variant string, core, limit int) (*session, error) {
	p, err := start(ctx, Setup{
		Variant: variant, Kind: c.Kind, Shape: c.Shape, Profile: c.Profile, Streams: c.Streams, Tight: !c.paced(), Limit: limit,
	}, core)
	if err != nil {
		return nil, err
	}
	s := &session{c: c, p: p}
	for i := 0; i < c.Streams && c.paced() && err == nil; i++ {
		err = s.publish(ctx, variant, i, limit)
	}
	for i := 0; i < c.Streams && err == nil; i++ {
		err = s.subscribe(ctx, variant, Subscribe{Stream: i}, c.Receivers)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *session) publish(ctx context.Context, variant string, stream, limit int) error {
	p, err := newPublisher(s.c, variant, uint32(1+stream), limit)
	if err != nil {
		return err
	}
	s.publishers = append(s.publishers, p)
	offer, err := p.Offer()
	if err != nil {
		return err
	}
	var answer string
	if err := s.p.Call("Node.Publish", Publish{stream, offer}, &answer); err != nil {
		return err
	}
	if err := p.Answer(answer); err != nil {
		return err
	}
	return p.Connected(ctx)
}

// atOnce is how many connections are made at a time.
const atOnce = 4

// subscribe adds receivers of a stream.
func (s *session) subscribe(ctx context.Context, variant string, wish Subscribe, n int) error {
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(atOnce)
	for range n {
		g.Go(func() error {
			r, err := newReceiver(variant, s.c)
			if err != nil {
				return err
			}
			mu.Lock()
			s.receivers = append(s.receivers, r)
			mu.Unlock()
			var offer Offer
			if err := s.p.Call("Node.Subscribe", wish, &offer); err != nil {
				return err
			}
			answer, err := r.Answer(offer.SDP)
			if err != nil {
				return err
			}
			if err := s.p.Call("Node.Answer", Offer{offer.ID, answer}, &None{}); err != nil {
				return err
			}
			return r.Connected(ctx)
		})
	}
	return g.Wait()
}

// run sends for a while and returns how many packets of all streams that were.
func (s *session) run(r Run) (packets int, err error) {
	if !s.c.paced() {
		err = s.p.Call("Node.Run", r, &packets)
		return packets, err
	}
	var wg sync.WaitGroup
	counts := make([]int, len(s.publishers))
	for i, p := range s.publishers {
		wg.Go(func() { counts[i] = send(p, s.c, r) })
	}
	wg.Wait()
	for _, n := range counts {
		packets += n
	}
	return packets, nil
}

// deafen makes the kernel count, and returns when every receiver has got
// something.
func (s *session) deafen(ctx context.Context) error {
	ports := map[string]bool{}
	for _, r := range s.receivers {
		ports[r.socket.LocalAddr().String()] = true
		if err := r.deafen(); err != nil {
			return err
		}
	}
	if len(ports) != len(s.receivers) {
		return errors.New("receivers share ports")
	}
	for {
		if _, err := s.run(Run{For: 20 * time.Millisecond, Interval: 5 * time.Millisecond}); err != nil {
			return err
		}
		counts, err := s.settle(ctx)
		if err != nil {
			return err
		}
		missing := 0
		for _, n := range counts {
			if n == 0 {
				missing++
			}
		}
		if missing == 0 {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("nothing comes to %d of %d receivers", missing, len(counts))
		}
	}
}

// settle returns what each receiver was sent when nothing more comes. What was
// made where it is forwarded has come when it was forwarded.
func (s *session) settle(ctx context.Context) ([]uint32, error) {
	last, still := uint64(0), 0
	for {
		var sum uint64
		counts := make([]uint32, len(s.receivers))
		for i, r := range s.receivers {
			n, err := r.count()
			if err != nil {
				return nil, err
			}
			counts[i] = n
			sum += uint64(n)
		}
		if still++; sum != last {
			last, still = sum, 0
		}
		if still == 5 || !s.c.paced() || ctx.Err() != nil {
			return counts, nil
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Close ends all.
func (s *session) Close() error {
	for _, p := range s.publishers {
		p.Close()
	}
	var wg sync.WaitGroup
	for _, r := range s.receivers {
		wg.Go(r.Close)
	}
	wg.Wait()
	return s.p.Close()
}
