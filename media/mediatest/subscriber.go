package mediatest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"
)

// SubscriberConfig says how a Subscriber receives.
type SubscriberConfig struct {
	Options
	// Drop tells which packets of a kind are treated as lost when they come for
	// the first time; the Subscriber asks for them again.
	Drop func(kind string, seq uint16) bool
}

// Subscriber is a client that receives and checks.
type Subscriber struct {
	*state
	cfg      SubscriberConfig
	pc       *webrtc.PeerConnection
	messages chan string
	wg       sync.WaitGroup

	mu     sync.Mutex
	tracks []*subscriberTrack // guarded by mu
	change chan struct{}      // guarded by mu; closed and renewed when something came
	closed bool               // guarded by mu
}

type subscriberTrack struct {
	kind    string
	stream  string
	remote  *webrtc.TrackRemote
	checker *Checker
	dropped map[uint16]bool
	ext     int // packets with the publisher's header extension
	reports []*rtcp.SenderReport
	came    time.Time     // when the last packet did
	longest time.Duration // between two packets
}

// NewSubscriber returns a client that waits for an offer.
func NewSubscriber(cfg SubscriberConfig) (*Subscriber, error) {
	pc, err := newPeer(cfg.Options)
	if err != nil {
		return nil, err
	}
	s := &Subscriber{
		state: watch(pc), cfg: cfg, pc: pc, messages: make(chan string, 256), change: make(chan struct{}),
	}
	pc.OnTrack(s.track)
	pc.OnDataChannel(func(d *webrtc.DataChannel) {
		d.OnMessage(func(m webrtc.DataChannelMessage) {
			select {
			case s.messages <- string(m.Data):
			default: // nobody reads them
			}
		})
	})
	return s, nil
}

// Answer answers the server's offer, with all candidates.
func (s *Subscriber) Answer(offer string) (string, error) {
	if err := s.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}); err != nil {
		return "", fmt.Errorf("mediatest: %w", err)
	}
	d, err := s.pc.CreateAnswer(nil)
	if err != nil {
		return "", fmt.Errorf("mediatest: %w", err)
	}
	return local(s.pc, d)
}

// Messages brings the text of data-channel messages.
func (s *Subscriber) Messages() <-chan string { return s.messages }

func (s *Subscriber) track(remote *webrtc.TrackRemote, receiver *webrtc.RTPReceiver) {
	t := &subscriberTrack{
		kind: remote.Kind().String(), stream: remote.StreamID(), remote: remote,
		checker: NewChecker(remote.Kind().String()), dropped: map[uint16]bool{},
	}
	t.checker.codec = remote.Codec().MimeType
	var want string
	if want = uriOrientation; t.kind == Audio {
		want = uriAudioLevel
	}
	var id uint8
	for _, x := range receiver.GetParameters().HeaderExtensions {
		if x.URI == want {
			id = uint8(x.ID)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.tracks = append(s.tracks, t)
	s.wg.Go(func() { s.read(t, id) })
	s.wg.Go(func() { s.readReports(t, receiver) })
}

func (s *Subscriber) read(t *subscriberTrack, ext uint8) {
	for {
		p, _, err := t.remote.ReadRTP()
		if err != nil {
			return
		}
		var lost []uint16
		s.mu.Lock()
		if s.cfg.Drop != nil && s.cfg.Drop(t.kind, p.SequenceNumber) && !t.dropped[p.SequenceNumber] {
			t.dropped[p.SequenceNumber] = true
			lost = append(lost, p.SequenceNumber)
		} else {
			t.checker.Packet(p.SequenceNumber, p.Timestamp, p.Payload)
			now := time.Now()
			if !t.came.IsZero() {
				t.longest = max(t.longest, now.Sub(t.came))
			}
			t.came = now
			if data := p.GetExtension(ext); len(data) == 1 && data[0] == Extension {
				t.ext++
			}
		}
		s.wakeLocked()
		s.mu.Unlock()
		if len(lost) > 0 {
			_ = s.nack(t, lost) // fails at the end of the connection
		}
	}
}

func (s *Subscriber) readReports(t *subscriberTrack, r *webrtc.RTPReceiver) {
	for {
		packets, _, err := r.ReadRTCP()
		if err != nil {
			return
		}
		s.mu.Lock()
		for _, p := range packets {
			if sr, ok := p.(*rtcp.SenderReport); ok && len(t.reports) < 64 {
				t.reports = append(t.reports, sr)
			}
		}
		s.wakeLocked()
		s.mu.Unlock()
	}
}

func (s *Subscriber) wakeLocked() {
	close(s.change)
	s.change = make(chan struct{})
}

func (s *Subscriber) nack(t *subscriberTrack, seqs []uint16) error {
	return s.pc.WriteRTCP([]rtcp.Packet{&rtcp.TransportLayerNack{
		MediaSSRC: uint32(t.remote.SSRC()), Nacks: rtcp.NackPairsFromSequenceNumbers(seqs),
	}})
}

// NACK asks for packets of the first track of a kind.
func (s *Subscriber) NACK(kind string, seqs []uint16) error {
	t, err := s.first(kind)
	if err != nil {
		return err
	}
	return s.nack(t, seqs)
}

// Keyframe asks for a keyframe of the first video track.
func (s *Subscriber) Keyframe() error {
	t, err := s.first(Video)
	if err != nil {
		return err
	}
	return s.pc.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: uint32(t.remote.SSRC())}})
}

func (s *Subscriber) first(kind string) (*subscriberTrack, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.findLocked(kind); t != nil {
		return t, nil
	}
	return nil, errors.New("mediatest: no such track yet")
}

func (s *Subscriber) findLocked(kind string) *subscriberTrack {
	for _, t := range s.tracks {
		if t.kind == kind {
			return t
		}
	}
	return nil
}

// Report is what came of the first track of a kind, zero when there is none.
func (s *Subscriber) Report(kind string) Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.findLocked(kind); t != nil {
		return t.checker.Report()
	}
	return Report{}
}

// Reports are what came of all tracks of a kind.
func (s *Subscriber) Reports(kind string) (all []Report) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tracks {
		if t.kind == kind {
			all = append(all, t.checker.Report())
		}
	}
	return all
}

// Longest is the longest time between two packets of a kind since it was asked
// for last.
func (s *Subscriber) Longest(kind string) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.findLocked(kind)
	if t == nil {
		return 0
	}
	longest := t.longest
	t.longest = 0
	return longest
}

// SSRC of the first track of a kind, 0 when there is none.
func (s *Subscriber) SSRC(kind string) uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.findLocked(kind); t != nil {
		return uint32(t.remote.SSRC())
	}
	return 0
}

// Extensions is how many packets of a kind had the publisher's header extension.
func (s *Subscriber) Extensions(kind string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.findLocked(kind); t != nil {
		return t.ext
	}
	return 0
}

// SenderReports are those of the first track of a kind.
func (s *Subscriber) SenderReports(kind string) []*rtcp.SenderReport {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.findLocked(kind); t != nil {
		return append([]*rtcp.SenderReport(nil), t.reports...)
	}
	return nil
}

// Wait waits until the report of a kind is as wanted.
func (s *Subscriber) Wait(ctx context.Context, kind string, want func(Report) bool) (Report, error) {
	for {
		s.mu.Lock()
		var r Report
		if t := s.findLocked(kind); t != nil {
			r = t.checker.Report()
		}
		change := s.change
		s.mu.Unlock()
		if want(r) {
			return r, nil
		}
		select {
		case <-change:
		case <-ctx.Done():
			return r, fmt.Errorf("mediatest: %s: %w: %+v", kind, ctx.Err(), r)
		}
	}
}

// AwaitQuiet waits until no packet of a kind has come for a while: absence can only
// be waited for.
func (s *Subscriber) AwaitQuiet(ctx context.Context, kind string, d time.Duration) error {
	for before := -1; ; {
		now := s.Report(kind).Packets
		if now == before {
			return nil
		}
		before = now
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s goes on: %w", kind, ctx.Err())
		case <-time.After(d):
		}
	}
}

// PC is the client's connection.
func (s *Subscriber) PC() *webrtc.PeerConnection { return s.pc }

// Close ends the client.
func (s *Subscriber) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	err := s.pc.GracefulClose()
	s.wg.Wait()
	if err != nil {
		return fmt.Errorf("mediatest: %w", err)
	}
	return nil
}
