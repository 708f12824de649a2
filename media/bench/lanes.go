//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"

	piondtls "github.com/pion/dtls/v3"
	"golang.org/x/sys/unix"

	"github.com/talkd/talkd/media"
)

// lanes is the floor as a forwarder: what offer and answer are for WebRTC, keys
// and an address are here.
type lanes struct {
	lanes   []*lane
	profile piondtls.SRTPProtectionProfile
	burst   int // of who publishes
	subs    handles[pending]
}

type pending struct {
	stream int
	secret Secret
}

func newFloor(s Setup, feeds []*feed) (*lanes, error) {
	f := &lanes{profile: s.Profile, burst: s.Burst}
	for range s.Streams {
		l, err := newLane()
		if err != nil {
			return nil, err
		}
		f.lanes = append(f.lanes, l)
	}
	for i, feed := range feeds {
		go f.lanes[i].pump(feed)
	}
	return f, nil
}

func (l *lane) pump(f *feed) {
	buf := make([]byte, maxBurst*media.MaxPacket)
	var packets [maxBurst][]byte
	for {
		n := f.wait()
		for i := range n {
			b := buf[i*media.MaxPacket:][:media.MaxPacket]
			packets[i] = b[:f.put(b)]
		}
		fatal(l.forward(packets[:n]))
	}
}

// fatal ends the process, and by that the measurement.
func fatal(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func (f *lanes) subscribe(stream int, _ bool) (int, string, error) {
	p := pending{stream, newSecret(f.profile)}
	offer, err := json.Marshal(p.secret)
	return f.subs.add(p), string(offer), err
}

func (f *lanes) answer(id int, answer string) error {
	p := f.subs.get(id)
	to, err := netip.ParseAddrPort(answer)
	if err != nil {
		return err
	}
	key, err := p.secret.sealing()
	if err != nil {
		return err
	}
	f.lanes[p.stream].subscribe(to, key, p.secret.SSRC)
	return nil
}

func (f *lanes) publish(stream int, offer string) (string, error) {
	var s Secret
	if err := json.Unmarshal([]byte(offer), &s); err != nil {
		return "", err
	}
	key, err := s.sealing()
	if err != nil {
		return "", err
	}
	l := f.lanes[stream]
	go func() { fatal(l.relay(key, f.burst)) }()
	name, err := unix.Getsockname(l.fd)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("127.0.0.1:%d", name.(*unix.SockaddrInet4).Port), nil
}
