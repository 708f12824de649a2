package load

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"github.com/talkd/talkd/signaling/wire"
)

// Sent is what a publisher sent, up to the close of the count.
type Sent struct {
	AudioPackets, VideoPackets uint32
	AudioBytes, VideoBytes     uint64 // of the payloads
	Keyframes                  uint32
	// KeyframeRequests came from the node.
	KeyframeRequests uint32
	// AskedAgain is how often the node asked for a lost packet, and Missed for
	// how many different ones, the tail included.
	AskedAgain, Missed uint64
	// Took is the time it sent for.
	Took time.Duration
	// Late is by how much the feed was behind its schedule at worst: what the
	// machine of the load was too busy for.
	Late time.Duration
}

// Sent is what was sent, and what was asked for, so far.
func (p *Publisher) Sent() Sent {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sent
}

// Sending is what a publication consists of.
type Sending struct {
	Screen bool // that of the person, rather than the person
	Voice  int  // bits a second of the payloads; 0: none
	Video  int  // the same
	// Loudness is what the voice's packets say, in dB above the quietest there is;
	// 0: nothing.
	Loudness int
	// Unheard: others are so much louder that the nodes do not forward the voice.
	Unheard bool
}

// Camera is picture and voice.
func Camera() Sending { return Sending{Voice: opusBitrate, Video: vp8Bitrate} }

func (s Sending) roomType() string {
	if s.Screen {
		return wire.RoomTypeScreen
	}
	return wire.RoomTypeVideo
}

// has tells whether there is a stream of a kind.
func (s Sending) has(k Kind) bool {
	if k == Audio {
		return s.Voice > 0
	}
	return s.Video > 0
}

// Publisher sends until its client is closed.
type Publisher struct {
	*peer

	number       uint16
	wanted       func()                      // a keyframe; nil: of the own feed
	audio, video *webrtc.TrackLocalStaticRTP // nil: none
	loudness     int                         // of the voice; 0: it is not told
	speaker      *webrtc.RTPSender           // of the voice
	level        uint8                       // id of the extension that tells its loudness; 0: it is not told

	mu      sync.Mutex // guards all below
	voice   audioFeed
	picture videoFeed
	sent    Sent
	asked   bool   // for a keyframe
	late    Delays // of the feed
	tail    bool   // the count is closed
	mute    bool   // nothing is sent
	missed  map[uint16]bool
}

// Publish makes the client publish under a number that tells publications apart.
// It returns when the answer is there and the connection is up.
func (c *Client) Publish(ctx context.Context, number uint16, what Sending) (*Publisher, error) {
	p, err := c.offer(ctx, number, what, nil)
	if err != nil {
		return nil, err
	}
	if err := p.await(ctx); err != nil {
		return nil, fmt.Errorf("publish: %w", err)
	}
	c.spawn(p.feed)
	return p, nil
}

// offer begins a connection that publishes. asked is told when a receiver
// wants a keyframe; nil: the publisher's own feed is.
func (c *Client) offer(ctx context.Context, number uint16, what Sending, asked func()) (*Publisher, error) {
	p, err := c.newPublisher(number, what, asked)
	if err != nil {
		return nil, err
	}
	offer, err := p.pc.CreateOffer(nil)
	if err != nil {
		return nil, err
	}
	// As Talk's clients do: the time makes it different from any before.
	p.setSID(fmt.Sprint(time.Now().UnixMilli()))
	p.note(stepAsked)
	refusal, err := c.media(ctx, p.message(wire.MediaOffer, &wire.MediaPayload{Type: "offer", SDP: offer.SDP}))
	if err != nil {
		return nil, err
	}
	if err := p.pc.SetLocalDescription(offer); err != nil {
		return nil, err
	}
	c.spawn(func() { p.negotiate(refusal) })
	return p, nil
}

func (c *Client) newPublisher(number uint16, what Sending, asked func()) (*Publisher, error) {
	audio, video, err := what.tracks()
	if err != nil {
		return nil, err
	}
	pc, err := c.newPeer(peerKey{c.session, what.roomType()})
	if err != nil {
		return nil, err
	}
	p := &Publisher{
		peer: pc, number: number, wanted: asked, audio: audio, video: video, loudness: what.Loudness,
		voice: newAudioFeed(number, what.Voice), picture: newVideoFeed(number, what.Video),
		missed: make(map[uint16]bool),
	}
	for _, track := range []*webrtc.TrackLocalStaticRTP{audio, video} {
		if track == nil {
			continue
		}
		transceiver, err := p.pc.AddTransceiverFromTrack(track, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
		if err != nil {
			return nil, err
		}
		sender := transceiver.Sender()
		if track == audio {
			p.speaker = sender
		}
		c.spawn(func() { p.listen(sender) })
	}
	return p, nil
}

// tracks are those that there are.
func (s Sending) tracks() (audio, video *webrtc.TrackLocalStaticRTP, err error) {
	if s.Voice > 0 {
		audio, err = webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus}, "audio", "load")
		if err != nil {
			return nil, nil, err
		}
	}
	if s.Video > 0 {
		video, err = webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8}, "video", "load")
	}
	return audio, video, err
}

// negotiate is the goroutine of the connection.
func (p *Publisher) negotiate(refusal <-chan wire.ServerMessage) {
	for {
		var err error
		select {
		case m := <-p.inbox:
			if m.SID == p.currentSID() {
				err = p.handle(m)
			}
		case m := <-refusal:
			if m.Error != nil {
				err = m.Error
			}
		case <-p.ctx.Done():
			return
		}
		if err != nil {
			p.cancel(err)
			return
		}
	}
}

func (p *Publisher) handle(m *wire.MediaMessage) error {
	switch m.Type {
	case wire.MediaAnswer:
		p.note(stepDescribed)
		return p.describe(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: m.Payload.SDP})
	case wire.MediaCandidate:
		return p.addCandidate(m.Payload.Candidate)
	}
	return nil
}

// listen reads what the node reports about a track, so that losses are repaired
// and keyframes sent.
func (p *Publisher) listen(sender *webrtc.RTPSender) {
	for {
		packets, _, err := sender.ReadRTCP()
		if err != nil {
			return
		}
		for _, packet := range packets {
			if p.reported(packet) && p.wanted != nil {
				p.wanted()
			}
		}
	}
}

// reported tells whether a keyframe is wanted.
func (p *Publisher) reported(packet rtcp.Packet) (wanted bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch packet := packet.(type) {
	case *rtcp.PictureLossIndication, *rtcp.FullIntraRequest:
		p.asked, wanted = true, true
		p.sent.KeyframeRequests++
	case *rtcp.TransportLayerNack:
		for _, pair := range packet.Nacks {
			pair.Range(func(seq uint16) bool {
				p.sent.AskedAgain++
				p.missed[seq] = true
				return true
			})
		}
		p.sent.Missed = uint64(len(p.missed))
	}
	return wanted
}

// feed is the goroutine that sends. It keeps to its schedule on average: after a
// delay it catches up, as the count of packets must not depend on the machine.
func (p *Publisher) feed() {
	p.level = p.levelExtension()
	start := p.c.clock()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for n := 0; ; n++ {
		due := start + time.Duration(n)*tick
		timer.Reset(due - p.c.clock())
		select {
		case <-timer.C:
		case <-p.ctx.Done():
			return
		}
		if err := p.send(n, start, due); err != nil {
			p.cancel(fmt.Errorf("sending media: %w", err))
			return
		}
	}
}

func (p *Publisher) send(n int, start, due time.Duration) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.c.clock()
	if !p.tail {
		p.sent.Took = now - start
		p.sent.Late = max(p.sent.Late, now-due)
		p.late.Add(now - due)
	}
	if p.mute {
		return nil
	}
	if p.audio != nil {
		voice := p.voice.packet(now, p.tail)
		if err := p.tell(voice); err != nil {
			return err
		}
		if err := p.write(p.audio, voice, &p.sent.AudioPackets, &p.sent.AudioBytes); err != nil {
			return err
		}
	}
	if p.video == nil || n%ticksPerFrame != 0 {
		return nil
	}
	key := p.asked || p.picture.toKey == 0
	p.asked = false
	if key && !p.tail {
		p.sent.Keyframes++
	}
	for _, packet := range p.picture.frame(p.c.clock, key, p.tail) {
		if err := p.write(p.video, packet, &p.sent.VideoPackets, &p.sent.VideoBytes); err != nil {
			return err
		}
	}
	return nil
}

// levelExtension is how the voice's packets tell how loud it is (RFC 6464), as was
// agreed upon; 0: they do not.
func (p *Publisher) levelExtension() uint8 {
	if p.loudness == 0 || p.speaker == nil {
		return 0
	}
	for _, x := range p.speaker.GetParameters().HeaderExtensions {
		if x.URI == uriAudioLevel {
			return uint8(x.ID)
		}
	}
	return 0 // the node does not want to know
}

// tell says in the packet how loud the voice is.
func (p *Publisher) tell(voice *rtp.Packet) error {
	if p.level == 0 {
		return nil
	}
	return voice.SetExtension(p.level, []byte{uint8(127 - p.loudness)})
}

func (p *Publisher) write(track *webrtc.TrackLocalStaticRTP, packet *rtp.Packet, packets *uint32, bytes *uint64) error {
	if !p.tail {
		*packets++
		*bytes += uint64(len(packet.Payload))
	}
	return track.WriteRTP(packet)
}

// Lateness is by how much the feed was behind its schedule since it was asked
// last.
func (p *Publisher) Lateness() Delays {
	p.mu.Lock()
	defer p.mu.Unlock()
	late := p.late
	p.late = Delays{}
	return late
}

// Mute lets nothing be sent for a while.
func (p *Publisher) Mute(mute bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mute = mute
}

// CloseCount ends the count. What is sent from now on is marked as the tail: it
// only lets receivers notice, and repair, the loss of what came before.
func (p *Publisher) CloseCount() Sent {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tail = true
	return p.sent
}
