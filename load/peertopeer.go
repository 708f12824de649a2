package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/webrtc/v4"
)

// PeerToPeer lets people with cameras talk without a server: each sends to all
// others itself. It tells how many bits a second each of them sends on average,
// with all headers; each gets as many.
func PeerToPeer(ctx context.Context, people int, what Sending, window time.Duration) (bps float64, err error) {
	c := &peers{what: what, network: Network{Traffic: new(Traffic)}}
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		err = errors.Join(err, c.close())
	}()
	clock := NewClock()
	for n := range people {
		audio, video, err := what.tracks()
		if err != nil {
			return 0, err
		}
		m := newMouth(uint16(n), what, clock)
		// One track goes over all connections of its person.
		m.add(&Publisher{audio: audio, video: video})
		for _, o := range c.people {
			if err := c.connect(ctx, o, m); err != nil {
				return 0, fmt.Errorf("between two people: %w", err)
			}
		}
		c.people = append(c.people, m)
		c.tasks.Go(func() { m.run(ctx) })
	}
	begun, _ := c.network.Traffic.Bytes()
	from := clock()
	timer := time.NewTimer(window)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	ended, _ := c.network.Traffic.Bytes()
	return 8 * float64(ended-begun) / (clock() - from).Seconds() / float64(people), nil
}

// peers are people who are connected with each other.
type peers struct {
	what    Sending
	network Network
	people  []*Mouth
	conns   []*webrtc.PeerConnection
	muxes   []ice.UDPMux
	tasks   sync.WaitGroup
}

// connect connects two, both of whom send.
func (c *peers) connect(ctx context.Context, a, b *Mouth) error {
	caller, err := c.conn(a)
	if err != nil {
		return err
	}
	callee, err := c.conn(b)
	if err != nil {
		return err
	}
	up := make(chan struct{})
	var once sync.Once
	caller.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
		if s == webrtc.PeerConnectionStateConnected {
			once.Do(func() { close(up) })
		}
	})
	offer, err := caller.CreateOffer(nil)
	if err != nil {
		return err
	}
	if err := describe(ctx, caller, callee, offer); err != nil {
		return err
	}
	answer, err := callee.CreateAnswer(nil)
	if err != nil {
		return err
	}
	if err := describe(ctx, callee, caller, answer); err != nil {
		return err
	}
	select {
	case <-up:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// describe tells one's description, with all candidates, to the other.
func describe(ctx context.Context, own, other *webrtc.PeerConnection, d webrtc.SessionDescription) error {
	gathered := webrtc.GatheringCompletePromise(own)
	if err := own.SetLocalDescription(d); err != nil {
		return err
	}
	select {
	case <-gathered:
		return other.SetRemoteDescription(*own.LocalDescription())
	case <-ctx.Done():
		return ctx.Err()
	}
}

// conn is one end of a connection; what comes is read and forgotten.
func (c *peers) conn(m *Mouth) (*webrtc.PeerConnection, error) {
	mux, err := c.network.mux()
	if err != nil {
		return nil, err
	}
	c.muxes = append(c.muxes, mux)
	api, err := c.network.api(mux)
	if err != nil {
		return nil, err
	}
	pc, err := api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return nil, err
	}
	c.conns = append(c.conns, pc)
	for _, out := range m.outs {
		for _, track := range []*webrtc.TrackLocalStaticRTP{out.audio, out.video} {
			if track == nil {
				continue
			}
			sender, err := pc.AddTrack(track)
			if err != nil {
				return nil, err
			}
			c.tasks.Go(func() { drain(sender.ReadRTCP) })
		}
	}
	pc.OnTrack(func(t *webrtc.TrackRemote, r *webrtc.RTPReceiver) {
		go drain(r.ReadRTCP) // ends, as the next one, with the connection
		drain(t.ReadRTP)
	})
	return pc, nil
}

// drain reads to the end.
func drain[T, A any](read func() (T, A, error)) {
	for {
		if _, _, err := read(); err != nil {
			return
		}
	}
}

// close ends all connections, and waits for what belongs to them.
func (c *peers) close() error {
	var errs []error
	for _, pc := range c.conns {
		errs = append(errs, pc.GracefulClose())
	}
	for _, mux := range c.muxes {
		errs = append(errs, mux.Close())
	}
	c.tasks.Wait()
	return errors.Join(errs...)
}
