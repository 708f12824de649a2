package client

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/pion/stun/v4"
)

const (
	header      = 20       // bytes of a STUN message before its attributes
	maxDatagram = 16 << 10 // longer ones are cut, and do not parse
)

// wire takes messages from a connection, whichever kind that is.
type wire interface {
	// write writes one message.
	write(message []byte) error
	// read reads the next message until the deadline. What is none is passed over. The
	// result is good until the next read.
	read(deadline time.Time) (*stun.Message, error)
}

// packets has a message in each datagram.
type packets struct {
	net.Conn
	buf [maxDatagram]byte
}

func (p *packets) write(message []byte) error {
	_, err := p.Write(message)
	return err
}

func (p *packets) read(deadline time.Time) (*stun.Message, error) {
	if err := p.SetReadDeadline(deadline); err != nil {
		return nil, err
	}
	for {
		n, err := p.Read(p.buf[:])
		if err != nil {
			return nil, err
		}
		m := stun.New()
		if stun.IsMessage(p.buf[:n]) && stun.Decode(p.buf[:n], m) == nil {
			return m, nil
		}
	}
}

// stream has one message behind the other (RFC 8489 section 6.2.2), and perhaps data of
// channels in between, of which we open none.
type stream struct {
	net.Conn
	in *bufio.Reader
	// rest is what has been read of a message when the time was over.
	rest []byte
}

func newStream(conn net.Conn) *stream { return &stream{Conn: conn, in: bufio.NewReader(conn)} }

const writeTimeout = 5 * time.Second

func (s *stream) write(message []byte) error {
	if err := s.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	_, err := s.Write(message)
	return err
}

func (s *stream) read(deadline time.Time) (*stun.Message, error) {
	if err := s.SetReadDeadline(deadline); err != nil {
		return nil, err
	}
	for {
		if err := s.fill(4); err != nil {
			return nil, err
		}
		length := int(binary.BigEndian.Uint16(s.rest[2:]))
		channel := s.rest[0]>>6 == 1 // RFC 8656 section 12.4
		if channel {
			length = 4 + (length+3)&^3
		} else {
			length += header
		}
		if err := s.fill(length); err != nil {
			return nil, err
		}
		raw := s.rest
		s.rest = nil
		if channel {
			continue
		}
		m := stun.New()
		if err := stun.Decode(raw, m); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		return m, nil
	}
}

// fill reads until rest has n bytes, which are 64 KiB at most.
func (s *stream) fill(n int) error {
	for len(s.rest) < n {
		have := len(s.rest)
		s.rest = append(s.rest, make([]byte, n-have)...)
		got, err := s.in.Read(s.rest[have:])
		s.rest = s.rest[:have+got]
		if err != nil && len(s.rest) < n {
			return err
		}
	}
	return nil
}

// late tells whether a read has ended as its time was over.
func late(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// gone tells whether the other side has ended a connection.
func gone(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }
