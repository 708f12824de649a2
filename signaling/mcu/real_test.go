package mcu_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	pionice "github.com/pion/ice/v4"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/signaling/mcu"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// hall is a room of one node with a real engine: what a desk announces is known
// to all, and messages go to the clients as JSON, as over a socket.
type hall struct {
	t      *testing.T
	engine *media.Engine
	dir    *fakeDirectory

	mu      sync.Mutex
	clients []*client
}

func newHall(t *testing.T) *hall {
	t.Helper()
	e, err := media.NewEngine(media.Config{ListenUDP: "127.0.0.1:0"}, media.Deps{Self: "n1", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- e.Run(ctx) }()
	h := &hall{t: t, engine: e, dir: newFakeDirectory()}
	t.Cleanup(func() {
		for _, c := range h.all() {
			c.close()
		}
		stop()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	})
	return h
}

func (h *hall) all() []*client {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]*client(nil), h.clients...)
}

// client is a participant: a desk, and the browser that talks to it.
type client struct {
	t    *testing.T
	hall *hall
	id   store.SessionID
	desk *mcu.Desk
	api  *webrtc.API
	in   chan heard
	done chan struct{}

	publishing *webrtc.PeerConnection // of the goroutine of browse, as is the next
	receiving  map[store.SessionID]*reception

	packets  chan *rtp.Packet
	messages chan string
	offers   chan string // sids of the offers that came
}

type heard struct {
	from store.SessionID
	m    wire.MediaMessage
	do   func()
}

type reception struct {
	pc  *webrtc.PeerConnection
	sid string
}

func (h *hall) enter(id store.SessionID) *client {
	h.t.Helper()
	var s webrtc.SettingEngine
	s.SetIncludeLoopbackCandidate(true)
	s.SetInterfaceFilter(func(name string) bool { return name == "lo" })
	s.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	s.SetICEMulticastDNSMode(pionice.MulticastDNSModeDisabled)
	m := &webrtc.MediaEngine{}
	if err := m.RegisterDefaultCodecs(); err != nil {
		h.t.Fatal(err)
	}
	c := &client{
		t: h.t, hall: h, id: id,
		api:       webrtc.NewAPI(webrtc.WithSettingEngine(s), webrtc.WithMediaEngine(m)),
		in:        make(chan heard, 256),
		done:      make(chan struct{}),
		receiving: make(map[store.SessionID]*reception),
		packets:   make(chan *rtp.Packet, 1024),
		messages:  make(chan string, 64),
		offers:    make(chan string, 16),
	}
	c.desk = mcu.NewDesk(mcu.Config{Session: id, Group: "hall"}, mcu.Real(h.engine), h.dir, c, slog.New(slog.DiscardHandler), nil)
	h.mu.Lock()
	h.clients = append(h.clients, c)
	h.mu.Unlock()
	go c.browse()
	return c
}

func (c *client) close() {
	c.desk.Close()
	close(c.in)
	<-c.done
}

// Send takes what the desk says through JSON, as the socket does.
func (c *client) Send(sender store.SessionID, m wire.MediaMessage) {
	var got wire.MediaMessage
	if err := json.Unmarshal(m.Encode(), &got); err != nil {
		c.t.Error(err)
		return
	}
	c.in <- heard{from: sender, m: got}
}

// Shed is of no interest here.
func (c *client) Shed(wire.Shed) {}

func (c *client) Announce(pub media.Publication) {
	c.hall.dir.put(pub)
	for _, other := range c.hall.all() {
		other.desk.Announced(pub)
	}
}

func (c *client) Withdraw(id media.PubID) {
	c.hall.dir.remove(id)
	for _, other := range c.hall.all() {
		other.desk.Withdrawn(id)
	}
}

// say sends to the desk what passes the wire.
func (c *client) say(to store.SessionID, m wire.MediaMessage) {
	if m.RoomType == "" {
		m.RoomType = wire.RoomTypeVideo
	}
	checked, err := wire.DecodeMedia(m.Encode())
	if err != nil || checked == nil {
		c.t.Errorf("%s does not pass: %v", m.Type, err)
		return
	}
	c.desk.Handle(to, checked, func(err error) {
		if err != nil && !errors.Is(err, wire.ErrClientNotFound) {
			c.t.Errorf("%s: %s refused: %v", c.id, m.Type, err)
		}
	})
}

func (c *client) sayCandidate(to store.SessionID, sid func() string) func(*webrtc.ICECandidate) {
	return func(cand *webrtc.ICECandidate) {
		if cand == nil {
			return
		}
		init := cand.ToJSON()
		mid := ""
		if init.SDPMid != nil {
			mid = *init.SDPMid
		}
		c.say(to, wire.MediaMessage{Type: wire.MediaCandidate, SID: sid(), Payload: &wire.MediaPayload{
			Candidate: &wire.Candidate{Candidate: init.Candidate, SDPMid: mid, SDPMLineIndex: init.SDPMLineIndex},
		}})
	}
}

// browse is the client's page.
func (c *client) browse() {
	defer close(c.done)
	for h := range c.in {
		if h.do != nil {
			h.do()
			continue
		}
		switch h.m.Type {
		case wire.MediaAnswer:
			c.must(c.publishing.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: h.m.Payload.SDP}))
		case wire.MediaOffer:
			c.receive(h.from, h.m)
		case wire.MediaCandidate:
			pc := c.publishing
			if r := c.receiving[h.from]; r != nil {
				pc = r.pc
			}
			cand := h.m.Payload.Candidate
			c.must(pc.AddICECandidate(webrtc.ICECandidateInit{
				Candidate: cand.Candidate, SDPMid: &cand.SDPMid, SDPMLineIndex: cand.SDPMLineIndex,
			}))
		}
	}
	if c.publishing != nil {
		c.must(c.publishing.Close())
	}
	for _, r := range c.receiving {
		c.must(r.pc.Close())
	}
}

func (c *client) must(err error) {
	if err != nil {
		c.t.Errorf("%s: %v", c.id, err)
	}
}

// publish sends audio until its connection is closed, and says hello on the
// data channel.
func (c *client) publish(sid string) {
	opus := webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2}
	c.publishAs(description(wire.MediaOffer, "video", sid, ""), opus, send)
}

// publishAs offers by a message that lacks the description only.
func (c *client) publishAs(m wire.MediaMessage, codec webrtc.RTPCodecCapability, send sender) {
	c.in <- heard{do: func() {
		if c.publishing != nil {
			c.must(c.publishing.Close())
		}
		pc, err := c.api.NewPeerConnection(webrtc.Configuration{})
		c.must(err)
		c.publishing = pc
		track, err := webrtc.NewTrackLocalStaticRTP(codec, "a", "s")
		c.must(err)
		_, err = pc.AddTransceiverFromTrack(track, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
		c.must(err)
		channel, err := pc.CreateDataChannel("status", nil)
		c.must(err)
		pc.OnICECandidate(c.sayCandidate(c.id, func() string { return m.SID }))
		pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
			if s == webrtc.PeerConnectionStateConnected {
				go send(pc, track, channel, m.SID)
			}
		})
		sdp, err := pc.CreateOffer(nil)
		c.must(err)
		c.must(pc.SetLocalDescription(sdp))
		m.Payload.SDP = sdp.SDP
		c.say(c.id, m)
	}}
}

// sender sends as long as its connection lasts.
type sender func(*webrtc.PeerConnection, *webrtc.TrackLocalStaticRTP, *webrtc.DataChannel, string)

// film sends a slice every 20 ms, each tenth with the parameters of a sequence
// (RFC 6184): a picture to begin with.
func film(pc *webrtc.PeerConnection, track *webrtc.TrackLocalStaticRTP, _ *webrtc.DataChannel, _ string) {
	for seq := uint16(0); pc.ConnectionState() == webrtc.PeerConnectionStateConnected; seq++ {
		p := &rtp.Packet{Header: rtp.Header{Version: 2, Marker: true, SequenceNumber: seq, Timestamp: uint32(seq) * 1800}, Payload: []byte{0x41, 0x9a, byte(seq)}}
		if seq%10 == 9 {
			p.Payload = []byte{0x78, 0, 4, 0x67, 0x42, 0xe0, 0x1f, 0, 2, 0x68, 0xce, 0, 2, 0x65, 0x88}
		}
		if track.WriteRTP(p) != nil {
			return
		}
		time.Sleep(20 * time.Millisecond) // the rhythm of a camera
	}
}

// send writes a packet every 20 ms, whose payload is the sid.
func send(pc *webrtc.PeerConnection, track *webrtc.TrackLocalStaticRTP, channel *webrtc.DataChannel, sid string) {
	for seq := uint16(0); pc.ConnectionState() == webrtc.PeerConnectionStateConnected; seq++ {
		p := &rtp.Packet{Header: rtp.Header{Version: 2, SequenceNumber: seq, Timestamp: uint32(seq) * 960}, Payload: []byte(sid)}
		if track.WriteRTP(p) != nil {
			return
		}
		if channel.ReadyState() == webrtc.DataChannelStateOpen && seq%5 == 0 {
			_ = channel.SendText(sid) // the connection may end meanwhile
		}
		time.Sleep(20 * time.Millisecond) // the rhythm of Opus
	}
}

func (c *client) receive(from store.SessionID, m wire.MediaMessage) {
	r := c.receiving[from]
	if r == nil || r.sid != m.SID {
		if r != nil {
			c.must(r.pc.Close())
		}
		pc, err := c.api.NewPeerConnection(webrtc.Configuration{})
		c.must(err)
		r = &reception{pc: pc, sid: m.SID}
		c.receiving[from] = r
		// As the web client does, before the offer is applied.
		_, err = pc.CreateDataChannel("status", nil)
		c.must(err)
		pc.OnDataChannel(func(d *webrtc.DataChannel) {
			d.OnMessage(func(m webrtc.DataChannelMessage) {
				select {
				case c.messages <- string(m.Data):
				default:
				}
			})
		})
		pc.OnTrack(func(t *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
			for {
				p, _, err := t.ReadRTP()
				if err != nil {
					return
				}
				select {
				case c.packets <- p:
				default:
				}
			}
		})
		pc.OnICECandidate(c.sayCandidate(from, func() string { return m.SID }))
	}
	c.must(r.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: m.Payload.SDP}))
	sdp, err := r.pc.CreateAnswer(nil)
	c.must(err)
	c.must(r.pc.SetLocalDescription(sdp))
	c.say(from, description(wire.MediaAnswer, "video", m.SID, sdp.SDP))
	c.offers <- m.SID
}

const patience = 10 * time.Second

func await[T any](t *testing.T, c <-chan T, what string, match func(T) bool) T {
	t.Helper()
	late := time.After(patience)
	for {
		select {
		case v := <-c:
			if match(v) {
				return v
			}
		case <-late:
			t.Fatalf("no %s", what)
		}
	}
}

// TestOfferCodecs: an offer's wish for H.264 is fulfilled, and who listens is sent it
// from a picture to begin with. A wish that nobody here can fulfil changes nothing.
func TestOfferCodecs(t *testing.T) {
	h := newHall(t)
	talker, listener := h.enter("talker"), h.enter("listener")
	listener.say(talker.id, requestOffer("video", ""))
	m := description(wire.MediaOffer, "video", "1", "")
	m.VideoCodec, m.H264Profile = "h265,h264,vp8", "42e01f"
	talker.publishAs(m, webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeH264, ClockRate: 90000}, film)
	await(t, listener.offers, "offer", func(string) bool { return true })
	first := await(t, listener.packets, "packet", func(*rtp.Packet) bool { return true })
	if first.Payload[0] != 0x78 {
		t.Errorf("video begins with %x", first.Payload)
	}
	pubs := talker.desk.Published()
	if len(pubs) != 1 || pubs[0].Tracks[0].Codec.MimeType != webrtc.MimeTypeH264 {
		t.Errorf("published %+v", pubs)
	}

	m = description(wire.MediaOffer, "video", "2", "")
	m.AudioCodec, m.VideoCodec = "isac32", "h265"
	opus := webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2}
	talker.publishAs(m, opus, send)
	await(t, listener.packets, "packet of Opus", func(p *rtp.Packet) bool { return string(p.Payload) == "2" })
}

// One publishes, another listens, with real connections: media and data-channel
// messages arrive; the publisher starts over and the listener goes on hearing
// on the same connection; an update keeps the connection too.
func TestWithEngine(t *testing.T) {
	h := newHall(t)
	talker, listener := h.enter("talker"), h.enter("listener")

	listener.say(talker.id, requestOffer("video", "")) // too early: it waits
	talker.publish("1")
	sid := await(t, listener.offers, "offer", func(string) bool { return true })
	first := await(t, listener.packets, "packet", func(p *rtp.Packet) bool { return string(p.Payload) == "1" })
	await(t, listener.messages, "message on the data channel", func(m string) bool { return m == "1" })

	talker.publish("2")
	second := await(t, listener.packets, "packet of the second connection", func(p *rtp.Packet) bool { return string(p.Payload) == "2" })
	if first.SSRC != second.SSRC {
		t.Error("the stream was not continued")
	}
	await(t, listener.messages, "message of the second connection", func(m string) bool { return m == "2" })

	listener.say(talker.id, requestOffer("video", sid))
	if again := await(t, listener.offers, "updated offer", func(string) bool { return true }); again != sid {
		t.Errorf("sid %s, want %s", again, sid)
	}
	listener.say(talker.id, requestOffer("video", ""))
	if again := await(t, listener.offers, "new offer", func(string) bool { return true }); again == sid {
		t.Error("the sid of the old connection")
	}
	for len(listener.packets) > 0 {
		<-listener.packets
	}
	await(t, listener.packets, "packet on the new connection", func(p *rtp.Packet) bool { return string(p.Payload) == "2" })

	if pubs, subs := listener.desk.Counts(); pubs != 0 || subs != 1 {
		t.Errorf("%d publishers and %d subscribers", pubs, subs)
	}
	talker.desk.Reset()
	listener.desk.Gone(talker.id)
	deadline := time.Now().Add(patience)
	for {
		n := 0
		for _, g := range h.engine.Counters() {
			n += g.Publishers + g.Subscribers
		}
		if n == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d connections left", n)
		}
		time.Sleep(10 * time.Millisecond) // closing is done by workers
	}
}
