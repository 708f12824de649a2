//go:build linux

package main

import (
	"context"
	"encoding/json"
	"net"
	"time"

	"github.com/pion/srtp/v3"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/media/mediatest"
)

// publisher sends frames from the measuring process: mediatest.Publisher does so
// over WebRTC, bareSender to the floor.
type publisher interface {
	Offer() (string, error)
	Answer(string) error
	Connected(context.Context) error
	Frames(kind string, n int)
	Close() error
}

func newPublisher(c Case, variant string, stream uint32, limit int) (publisher, error) {
	if variant == Floor {
		return newBareSender(newSource(c.Kind, stream, c.Size, c.Burst, limit))
	}
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	return mediatest.NewPublisher(mediatest.PublisherConfig{
		Options: options(socket),
		Video:   true, Stream: stream, FrameSize: c.Size - rtpHeader, PerFrame: c.Burst,
	})
}

// send sends a frame each interval.
func send(p publisher, c Case, r Run) (packets int) {
	next := time.Now()
	for end := next.Add(r.For); next.Before(end); next = next.Add(r.Interval) {
		time.Sleep(time.Until(next))
		p.Frames(c.Kind, 1)
		packets += c.Burst
	}
	return packets
}

// bareSender seals with the library and has nothing but a socket.
type bareSender struct {
	source *source
	secret Secret
	seal   *srtp.Context
	socket *net.UDPConn
	buf    []byte
	sealed []byte
}

func newBareSender(s *source) (*bareSender, error) {
	b := &bareSender{source: s, secret: newSecret(), buf: make([]byte, media.MaxPacket), sealed: make([]byte, media.MaxPacket)}
	var err error
	b.seal, err = b.secret.context()
	return b, err
}

// Offer implements publisher.
func (b *bareSender) Offer() (string, error) {
	offer, err := json.Marshal(b.secret)
	return string(offer), err
}

// Answer implements publisher.
func (b *bareSender) Answer(answer string) error {
	to, err := net.ResolveUDPAddr("udp4", answer)
	if err != nil {
		return err
	}
	b.socket, err = net.DialUDP("udp4", nil, to)
	return err
}

// Connected implements publisher.
func (b *bareSender) Connected(context.Context) error { return nil }

// Frames implements publisher.
func (b *bareSender) Frames(_ string, n int) {
	for range n * b.source.burst {
		plain := b.buf[:b.source.put(b.buf, false)]
		sealed, err := b.seal.EncryptRTP(b.sealed[:0], plain, nil)
		if err != nil {
			continue // missed by the count
		}
		_, _ = b.socket.Write(sealed) // likewise
	}
}

// Close implements publisher.
func (b *bareSender) Close() error { return b.socket.Close() }
