package mediatest

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"github.com/talkd/talkd/media"
)

// PublisherConfig says what a Publisher sends.
type PublisherConfig struct {
	Options
	Audio, Video bool
	// Codec is the MIME type of the video, if not that of VP8. All are offered, VP8
	// first.
	Codec string
	// Data opens a data channel.
	Data bool
	// Stream numbers the publisher; audio and video get numbers of their own.
	Stream uint32
	// FrameSize is the payload of a video packet, PerFrame the packets of a
	// frame; 25 frames are sent per second. 0 is 1000 bytes, 3 packets.
	FrameSize, PerFrame int
	// Uneven makes the first packet of a frame of video a byte shorter.
	Uneven bool
	// Layers above 1 makes video a simulcast with rids l, m and h. Layer i has
	// Stream*2+1+1000*i as its number.
	Layers int
}

// Prefer is what the client says it would rather send than VP8.
func (c PublisherConfig) Prefer() (p media.Preference) {
	if _, name, ok := strings.Cut(strings.ToLower(c.Codec), "/"); ok {
		p.Video = []string{name}
	}
	return p
}

// Publisher is a client that publishes.
type Publisher struct {
	*state
	pc     *webrtc.PeerConnection
	tracks []*publisherTrack
	data   *webrtc.DataChannel
	opened chan struct{}
	quit   chan struct{}
	once   sync.Once
	wg     sync.WaitGroup
	muted  atomic.Bool
}

type publisherTrack struct {
	mid       func() string
	rid       string
	value     atomic.Uint32 // of the header extension
	off       atomic.Bool
	local     *webrtc.TrackLocalStaticRTP
	sender    *webrtc.RTPSender
	keyframes atomic.Int64
	mu        sync.Mutex
	gen       *Generator // guarded by mu
	packets   uint32     // guarded by mu
	octets    uint32     // guarded by mu
	ts        uint32     // guarded by mu
	at        time.Time  // guarded by mu
}

// NewPublisher returns a client that has not offered yet.
func NewPublisher(cfg PublisherConfig) (*Publisher, error) {
	pc, err := newPeer(cfg.Options)
	if err != nil {
		return nil, err
	}
	p := &Publisher{state: watch(pc), pc: pc, quit: make(chan struct{}), opened: make(chan struct{})}
	if cfg.Audio {
		err = p.add(Audio, webrtc.MimeTypeOpus, cfg.Stream*2, cfg)
	}
	if cfg.Video && err == nil {
		err = p.add(Video, codecOf(cfg.Codec).mime, cfg.Stream*2+1, cfg)
	}
	if cfg.Data && err == nil {
		if p.data, err = pc.CreateDataChannel("status", nil); err == nil {
			p.data.OnOpen(sync.OnceFunc(func() { close(p.opened) }))
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("mediatest: %w", err), p.Close())
	}
	return p, nil
}

func (p *Publisher) add(kind, mime string, stream uint32, cfg PublisherConfig) error {
	t := &publisherTrack{gen: NewGenerator(kind, stream)}
	t.value.Store(Extension)
	if kind == Video {
		t.gen.Codec = mime
		t.gen.Uneven = cfg.Uneven
		if cfg.FrameSize > 0 {
			t.gen.Size = cfg.FrameSize
		}
		if cfg.PerFrame > 0 {
			t.gen.PerFrame = cfg.PerFrame
		}
	}
	var err error
	layers := 1
	var options []func(*webrtc.TrackLocalStaticRTP)
	if kind == Video && cfg.Layers > 1 {
		layers, t.rid = cfg.Layers, rids[0]
		options = append(options, webrtc.WithRTPStreamID(t.rid))
	}
	if t.local, err = webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: mime}, kind, "client", options...); err != nil {
		return err
	}
	transceiver, err := p.pc.AddTransceiverFromTrack(t.local, webrtc.RTPTransceiverInit{
		Direction: webrtc.RTPTransceiverDirectionSendonly,
	})
	if err != nil {
		return err
	}
	t.sender, t.mid = transceiver.Sender(), transceiver.Mid
	p.tracks = append(p.tracks, t)
	p.wg.Go(t.listen)
	for i := 1; i < layers; i++ {
		l := &publisherTrack{gen: NewGenerator(kind, stream+uint32(1000*i)), sender: t.sender, mid: t.mid, rid: rids[i]}
		l.value.Store(Extension)
		l.gen.Codec, l.gen.Size, l.gen.PerFrame, l.gen.Uneven = t.gen.Codec, t.gen.Size, t.gen.PerFrame, t.gen.Uneven
		if l.local, err = webrtc.NewTrackLocalStaticRTP(
			webrtc.RTPCodecCapability{MimeType: mime}, kind, "client", webrtc.WithRTPStreamID(l.rid),
		); err != nil {
			return err
		}
		if err := t.sender.AddEncoding(l.local); err != nil {
			return err
		}
		p.tracks = append(p.tracks, l)
		p.wg.Go(l.listen)
	}
	return nil
}

// rids are the names of layers, from the lowest to the best.
var rids = [...]string{"l", "m", "h"}

// Layer stops or continues one layer of a simulcast.
func (p *Publisher) Layer(i int, on bool) {
	for _, t := range p.tracks {
		if t.rid == rids[i] {
			t.off.Store(!on)
		}
	}
}

// listen counts keyframe requests and obeys them.
func (t *publisherTrack) listen() {
	for {
		var packets []rtcp.Packet
		var err error
		if t.rid == "" {
			packets, _, err = t.sender.ReadRTCP()
		} else {
			packets, _, err = t.sender.ReadSimulcastRTCP(t.rid)
		}
		if err != nil {
			return
		}
		for _, packet := range packets {
			if _, ok := packet.(*rtcp.PictureLossIndication); ok {
				t.keyframes.Add(1)
				t.mu.Lock()
				t.gen.Keyframe()
				t.mu.Unlock()
			}
		}
	}
}

// Offer returns the client's offer, with all candidates.
func (p *Publisher) Offer() (string, error) {
	d, err := p.pc.CreateOffer(nil)
	if err != nil {
		return "", fmt.Errorf("mediatest: %w", err)
	}
	return local(p.pc, d)
}

// Answer takes the server's answer.
func (p *Publisher) Answer(sdp string) error {
	if err := p.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: sdp}); err != nil {
		return fmt.Errorf("mediatest: %w", err)
	}
	return nil
}

// Start sends in real time from now on, until Close.
func (p *Publisher) Start() { p.StartWith(nil, 0) }

// StartWith sends the same by another client's connections: after each frame of
// this one, by that delay, the other's frame of the same number.
func (p *Publisher) StartWith(other *Publisher, delay time.Duration) {
	for i, t := range p.tracks {
		interval := 40 * time.Millisecond
		if t.gen.Kind == Audio {
			interval = 20 * time.Millisecond
		}
		p.wg.Go(func() {
			tick := time.NewTicker(interval)
			defer tick.Stop()
			for n := 0; ; n++ {
				select {
				case <-p.quit:
					return
				case <-tick.C:
				}
				if p.muted.Load() || t.off.Load() {
					continue
				}
				t.frame(n%4 == 0)
				if n%10 == 1 {
					t.report(p.pc)
				}
				if other == nil {
					continue
				}
				time.Sleep(delay) // as far as the two encoders are apart
				other.tracks[i].frame(n%4 == 0)
				if n%10 == 1 {
					other.tracks[i].report(other.pc)
				}
			}
		})
	}
}

// Mute stops sending, as a sender without track does; the SSRCs stay.
func (p *Publisher) Mute(on bool) { p.muted.Store(on) }

// Refresh makes the next frame of video a keyframe that nobody asked for.
func (p *Publisher) Refresh() {
	for _, t := range p.tracks {
		t.gen.Keyframe()
	}
}

// Frames sends n frames of a kind at once, paced by nothing.
func (p *Publisher) Frames(kind string, n int) {
	for _, t := range p.tracks {
		for i := 0; i < n && t.gen.Kind == kind; i++ {
			t.frame(false)
		}
	}
}

// frame sends one frame, with header extensions if wanted.
func (t *publisherTrack) frame(extended bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, u := range t.gen.Frame() {
		packet := &rtp.Packet{
			Header: rtp.Header{
				Version: 2, Marker: u.Marker, SequenceNumber: u.Sequence, Timestamp: u.Timestamp,
			},
			Payload: u.Payload,
		}
		want := uriOrientation
		if t.gen.Kind == Audio {
			want = uriAudioLevel
		}
		if id := t.extension(want); extended && id != 0 {
			_ = packet.SetExtension(id, []byte{byte(t.value.Load())}) // one byte always fits
		}
		if t.rid != "" {
			_ = packet.SetExtension(t.extension(uriMid), []byte(t.mid())) // short as well
			_ = packet.SetExtension(t.extension(uriRID), []byte(t.rid))
		}
		if t.local.WriteRTP(packet) == nil {
			t.packets++
			t.octets += uint32(len(u.Payload))
			t.ts, t.at = u.Timestamp, time.Now()
		}
	}
}

// Level sets the audio level, in dB below the loudest there is (RFC 6464).
func (p *Publisher) Level(level uint8) {
	for _, t := range p.tracks {
		if t.gen.Kind == Audio {
			t.value.Store(uint32(level))
		}
	}
}

// Extension is the value of the audio level and of the video orientation that a
// Publisher sends, if not told otherwise.
const Extension = 0x2a

func (t *publisherTrack) extension(want string) uint8 {
	for _, x := range t.sender.GetParameters().HeaderExtensions {
		if x.URI == want {
			return uint8(x.ID)
		}
	}
	return 0
}

// report sends a sender report.
func (t *publisherTrack) report(pc *webrtc.PeerConnection) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var ssrc uint32
	for _, e := range t.sender.GetParameters().Encodings {
		if e.RID == t.rid {
			ssrc = uint32(e.SSRC)
		}
	}
	if ssrc == 0 || t.packets == 0 {
		return
	}
	_ = pc.WriteRTCP([]rtcp.Packet{&rtcp.SenderReport{
		SSRC: ssrc, NTPTime: NTP(t.at), RTPTime: t.ts, PacketCount: t.packets, OctetCount: t.octets,
	}}) // fails before the handshake
}

// NTP is a time as sender reports write it.
func NTP(t time.Time) uint64 {
	const since1900 = 2208988800
	return (uint64(t.Unix())+since1900)<<32 | uint64(t.Nanosecond())<<32/uint64(time.Second)
}

// Keyframes returns how many keyframes were asked for, of all layers.
func (p *Publisher) Keyframes() int {
	var n int64
	for _, t := range p.tracks {
		n += t.keyframes.Load()
	}
	return int(n)
}

// SendText sends a message on the data channel once it is open.
func (p *Publisher) SendText(text string) error {
	if p.data == nil {
		return errors.New("mediatest: no data channel")
	}
	select {
	case <-p.opened:
	case <-time.After(10 * time.Second):
		return errors.New("mediatest: data channel does not open")
	}
	if err := p.data.SendText(text); err != nil {
		return fmt.Errorf("mediatest: %w", err)
	}
	return nil
}

// PC is the client's connection.
func (p *Publisher) PC() *webrtc.PeerConnection { return p.pc }

// Close ends the client.
func (p *Publisher) Close() error {
	p.once.Do(func() { close(p.quit) })
	err := p.pc.GracefulClose()
	p.wg.Wait()
	if err != nil {
		return fmt.Errorf("mediatest: %w", err)
	}
	return nil
}
