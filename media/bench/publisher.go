//go:build linux

package main

import (
	"context"
	"encoding/json"
	"net/netip"
	"time"

	"github.com/pion/srtp/v3"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/media/mediatest"
)

// publisher sends frames from the measuring process over a socket of its own.
type publisher struct {
	sender
	*timed
}

// Close ends the sender and the socket, which a sender may have closed.
func (p publisher) Close() {
	_ = p.sender.Close()
	_ = p.timed.Close()
}

// sender is what mediatest.Publisher is for WebRTC, and bareSender for the floor.
type sender interface {
	Offer() (string, error)
	Answer(string) error
	Connected(context.Context) error
	Frames(kind string, n int)
	Close() error
}

func newPublisher(c Case, variant string, stream uint32, limit int) (p publisher, err error) {
	if p.timed, err = newTimed(); err != nil {
		return p, err
	}
	if variant == Floor {
		p.sender, err = newBareSender(p.timed, c, newSource(c.Kind, stream, c.Shape, limit))
		return p, err
	}
	p.sender, err = mediatest.NewPublisher(mediatest.PublisherConfig{
		Options: options(p.timed, c.Profile),
		Video:   true, Stream: stream, FrameSize: c.Size - rtpHeader, PerFrame: c.Burst,
	})
	return p, err
}

// send sends a frame each interval, and returns when the next one would be due.
func send(p publisher, c Case, r Run) (packets int) {
	next := time.Now()
	for end := next.Add(r.For); next.Before(end); time.Sleep(time.Until(next)) {
		p.Frames(c.Kind, 1)
		packets += c.Burst
		next = next.Add(r.Interval)
	}
	return packets
}

// bareSender seals with the library and has nothing but a socket.
type bareSender struct {
	source *source
	secret Secret
	seal   *srtp.Context
	socket *timed
	to     netip.AddrPort
	buf    []byte
	sealed []byte
}

func newBareSender(t *timed, c Case, s *source) (*bareSender, error) {
	b := &bareSender{socket: t, source: s, secret: newSecret(c.Profile), buf: make([]byte, media.MaxPacket), sealed: make([]byte, media.MaxPacket)}
	var err error
	b.seal, err = b.secret.context()
	return b, err
}

// Offer implements sender.
func (b *bareSender) Offer() (string, error) {
	offer, err := json.Marshal(b.secret)
	return string(offer), err
}

// Answer implements sender.
func (b *bareSender) Answer(answer string) (err error) {
	b.to, err = netip.ParseAddrPort(answer)
	return err
}

// Connected implements sender.
func (b *bareSender) Connected(context.Context) error { return nil }

// Frames implements sender.
func (b *bareSender) Frames(_ string, n int) {
	for range n {
		b.frame()
	}
}

func (b *bareSender) frame() {
	for range b.source.next() {
		plain := b.buf[:b.source.put(b.buf, false)]
		sealed, err := b.seal.EncryptRTP(b.sealed[:0], plain, nil)
		if err != nil {
			continue // missed by the count
		}
		_, _ = b.socket.WriteToAddrPort(sealed, b.to) // likewise
	}
}

// Close implements sender.
func (b *bareSender) Close() error { return b.socket.Close() }
