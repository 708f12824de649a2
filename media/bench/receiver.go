//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"sync"
	"unsafe"

	piondtls "github.com/pion/dtls/v3"
	pionice "github.com/pion/ice/v4"
	pionlog "github.com/pion/logging"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
	"golang.org/x/sys/unix"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/media/mediatest"
)

// receiver is one receiver with a socket of its own. Once it is deaf the kernel
// counts what it does not let through, so that receiving costs nothing and
// nothing is counted by who is measured.
type receiver struct {
	client
	socket *timed
	before uint32 // dropped when it became deaf
}

// client is what mediatest.Subscriber is for WebRTC, and bare for the floor.
type client interface {
	Answer(offer string) (string, error)
	Connected(context.Context) error
	Report(kind string) mediatest.Report
	Close() error
}

func newReceiver(variant string, c Case) (*receiver, error) {
	socket, err := newTimed()
	if err != nil {
		return nil, err
	}
	if variant == Floor {
		return &receiver{client: &bare{socket: socket, checker: mediatest.NewChecker(c.Kind)}, socket: socket}, nil
	}
	s, err := mediatest.NewSubscriber(mediatest.SubscriberConfig{Options: options(socket, c.Profile)})
	if err != nil {
		return nil, err
	}
	return &receiver{client: s, socket: socket}, nil
}

// options are for connections over one socket.
func options(socket net.PacketConn, profile piondtls.SRTPProtectionProfile) mediatest.Options {
	return mediatest.Options{Settings: func(s *webrtc.SettingEngine) {
		s.SetICEUDPMux(pionice.NewUDPMuxDefault(pionice.UDPMuxParams{UDPConn: socket, Logger: silent.NewLogger("")}))
		s.SetSRTPProtectionProfiles(profile)
	}}
}

// silent has no logs: a connection that ends is an error to the library.
var silent = &pionlog.DefaultLoggerFactory{DefaultLogLevel: pionlog.LogLevelDisabled}

// noRTP drops RTP and lets through what is told from it by its first two
// bytes (RFC 7983, RFC 5761): STUN, DTLS and RTCP. The UDP header is before them.
var noRTP = [...]unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 8},
	{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: 0xc0},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 0x80, Jf: 4},
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 9},
	{Code: unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, K: 192, Jf: 1},
	{Code: unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K, K: 223, Jf: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0xffff},
}

// deafen lets no more RTP in.
func (r *receiver) deafen() error {
	filter := noRTP
	err := r.socket.control(func(fd int) error {
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{
			Len: uint16(len(filter)), Filter: &filter[0],
		})
	})
	if err != nil {
		return fmt.Errorf("filter: %w", err)
	}
	r.before, err = r.dropped()
	return err
}

// hear lets RTP in again.
func (r *receiver) hear() error {
	return r.socket.control(func(fd int) error {
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
	})
}

// count is how many packets came since the receiver is deaf.
func (r *receiver) count() (uint32, error) {
	n, err := r.dropped()
	return n - r.before, err
}

func (r *receiver) dropped() (uint32, error) {
	var info [unix.SK_MEMINFO_DROPS + 1]uint32
	size := uint32(unsafe.Sizeof(info))
	err := r.socket.control(func(fd int) error {
		_, _, e := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
		if e != 0 {
			return e
		}
		return nil
	})
	return info[unix.SK_MEMINFO_DROPS], err
}

// Close ends the client and the socket, which a client may have closed.
func (r *receiver) Close() {
	_ = r.client.Close()
	_ = r.socket.Close()
}

// bare is the client of the floor.
type bare struct {
	socket *timed

	mu      sync.Mutex
	checker *mediatest.Checker // guarded by mu
}

// Answer implements client.
func (b *bare) Answer(offer string) (string, error) {
	var s Secret
	if err := json.Unmarshal([]byte(offer), &s); err != nil {
		return "", err
	}
	c, err := s.context()
	if err != nil {
		return "", err
	}
	go func() {
		var h rtp.Header
		sealed, open := make([]byte, media.MaxPacket), make([]byte, media.MaxPacket)
		for {
			n, _, err := b.socket.ReadFromAddrPort(sealed)
			if err != nil {
				return
			}
			plain, err := c.DecryptRTP(open[:0], sealed[:n], &h)
			if err != nil || h.SSRC != s.SSRC {
				continue // the checker misses it
			}
			b.mu.Lock()
			b.checker.Packet(h.SequenceNumber, h.Timestamp, unpadded(plain))
			b.mu.Unlock()
		}
	}()
	return b.socket.LocalAddr().String(), nil
}

// Connected implements client.
func (b *bare) Connected(context.Context) error { return nil }

// Report implements client.
func (b *bare) Report(string) mediatest.Report {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.checker.Report()
}

// Close implements client.
func (b *bare) Close() error { return b.socket.Close() }
