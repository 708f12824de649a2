package load

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"

	"github.com/coder/websocket"
	"github.com/pion/ice/v4"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// sfu stands for a node: it speaks as much of the protocol as the client does,
// and forwards with plain Pion.
type sfu struct {
	t     *testing.T
	muxes []ice.UDPMux // guarded by mu
	http  *httptest.Server
	// forward is what becomes of a packet on its way to the subscribers.
	forward func(webrtc.RTPCodecType, *rtp.Packet) []*rtp.Packet

	mu    sync.Mutex
	count int                           // guarded by mu
	seats map[store.SessionID]*seat     // guarded by mu
	pubs  map[store.SessionID]*forwards // guarded by mu
	conns []*webrtc.PeerConnection      // guarded by mu
	tasks sync.WaitGroup
}

// forwards are the tracks of a publisher.
type forwards struct {
	audio, video *webrtc.TrackLocalStaticRTP
}

// seat is a session.
type seat struct {
	sfu *sfu
	id  store.SessionID
	ws  *websocket.Conn
	ctx context.Context

	mu  sync.Mutex
	pcs map[string]*webrtc.PeerConnection // guarded by mu; by sid
}

func startSFU(t *testing.T) *sfu {
	t.Helper()
	s := &sfu{
		t:       t,
		forward: func(_ webrtc.RTPCodecType, p *rtp.Packet) []*rtp.Packet { return []*rtp.Packet{renumbered(p)} },
		seats:   make(map[store.SessionID]*seat),
		pubs:    make(map[store.SessionID]*forwards),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /spreed", s.serve)
	s.http = httptest.NewServer(mux)
	t.Cleanup(s.stop)
	return s
}

func (s *sfu) stop() {
	s.mu.Lock()
	conns, muxes := s.conns, s.muxes
	s.mu.Unlock()
	for _, pc := range conns {
		_ = pc.GracefulClose()
	}
	for _, mux := range muxes {
		_ = mux.Close()
	}
	s.hangUp()
	s.http.Close()
	s.tasks.Wait()
}

// hangUp cuts the connections of all sessions.
func (s *sfu) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.seats {
		_ = st.ws.CloseNow()
	}
}

func (s *sfu) serve(w http.ResponseWriter, r *http.Request) {
	ws, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	ws.SetReadLimit(wire.MaxFrame)
	s.mu.Lock()
	s.count++
	st := &seat{sfu: s, id: store.SessionID("session-" + strconv.Itoa(s.count)), ws: ws, ctx: r.Context(), pcs: make(map[string]*webrtc.PeerConnection)}
	s.seats[st.id] = st
	s.mu.Unlock()
	st.say(wire.WelcomeMessage(wire.ServerInfo{Version: "test"}))
	for {
		_, frame, err := ws.Read(r.Context())
		if err != nil {
			return
		}
		m, err := wire.Decode(frame)
		if err != nil {
			st.say(wire.ErrorReply(m.ID, err))
			continue
		}
		st.handle(m)
	}
}

func (st *seat) say(m wire.ServerMessage) {
	_ = st.ws.Write(st.ctx, websocket.MessageText, wire.Encode(m)) // the reader notices
}

func (st *seat) handle(m *wire.ClientMessage) {
	switch m.Type {
	case wire.TypeHello:
		if m.Hello.Auth.URL == "" || string(m.Hello.Auth.Params) == `{"ticket":"wrong"}` {
			st.say(wire.ErrorReply(m.ID, wire.ErrInvalidTicket))
			return
		}
		st.say(wire.ServerMessage{ID: m.ID, Type: m.Type, Hello: &wire.HelloReply{Version: wire.Version, SessionID: st.id}})
	case wire.TypeRoom:
		if m.Room.RoomID == "closed" {
			st.say(wire.ErrorReply(m.ID, wire.ErrNoSuchRoom))
			return
		}
		st.say(wire.ServerMessage{ID: m.ID, Type: m.Type, Room: &wire.Room{RoomID: m.Room.RoomID}})
	case wire.TypeBye:
		st.say(wire.ServerMessage{ID: m.ID, Type: m.Type, Bye: &wire.Bye{}})
	case wire.TypeMessage:
		media, err := wire.DecodeMedia(m.Message.Data)
		if err == nil {
			err = st.media(m.Message.Recipient.SessionID, media)
		}
		if err != nil {
			st.say(wire.ErrorReply(m.ID, err))
		}
	}
}

func (st *seat) media(to store.SessionID, m *wire.MediaMessage) error {
	switch m.Type {
	case wire.MediaOffer:
		return st.publish(m)
	case wire.MediaRequestOffer:
		return st.offer(to)
	case wire.MediaAnswer:
		return st.pc(m.SID).SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: m.Payload.SDP})
	case wire.MediaCandidate:
		c := m.Payload.Candidate
		return st.pc(m.SID).AddICECandidate(webrtc.ICECandidateInit{Candidate: c.Candidate, SDPMid: &c.SDPMid, SDPMLineIndex: c.SDPMLineIndex})
	}
	return nil
}

func (st *seat) pc(sid string) *webrtc.PeerConnection {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.pcs[sid]
}

// connection makes the node's end of a connection, whose candidates trickle.
func (st *seat) connection(from store.SessionID, sid string) (*webrtc.PeerConnection, error) {
	mux, err := Network{}.mux()
	if err != nil {
		return nil, err
	}
	st.sfu.mu.Lock()
	st.sfu.muxes = append(st.sfu.muxes, mux)
	st.sfu.mu.Unlock()
	api, err := Network{}.api(mux)
	if err != nil {
		return nil, err
	}
	pc, err := api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return nil, err
	}
	pc.OnICECandidate(func(c *webrtc.ICECandidate) {
		if c != nil {
			init := c.ToJSON()
			st.tell(from, wire.MediaMessage{Type: wire.MediaCandidate, SID: sid, Payload: &wire.MediaPayload{
				Candidate: &wire.Candidate{Candidate: init.Candidate, SDPMid: *init.SDPMid, SDPMLineIndex: init.SDPMLineIndex},
			}})
		}
	})
	st.mu.Lock()
	st.pcs[sid] = pc
	st.mu.Unlock()
	st.sfu.mu.Lock()
	st.sfu.conns = append(st.sfu.conns, pc)
	st.sfu.mu.Unlock()
	return pc, nil
}

func (st *seat) tell(from store.SessionID, m wire.MediaMessage) {
	m.From, m.To, m.RoomType = from, st.id, wire.RoomTypeVideo
	st.say(wire.DeliverMessage(wire.Sender{Type: wire.ToSession, SessionID: from}, m.Encode()))
}

func (st *seat) publish(m *wire.MediaMessage) error {
	audio, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus}, "audio", "sfu")
	if err != nil {
		return err
	}
	video, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8}, "video", "sfu")
	if err != nil {
		return err
	}
	pc, err := st.connection(st.id, m.SID)
	if err != nil {
		return err
	}
	f := &forwards{audio: audio, video: video}
	pc.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		out := f.audio
		if track.Kind() == webrtc.RTPCodecTypeVideo {
			out = f.video
		}
		st.sfu.tasks.Go(func() {
			for {
				p, _, err := track.ReadRTP()
				if err != nil {
					return
				}
				for _, q := range st.sfu.forward(track.Kind(), p) {
					q.Extension, q.Extensions = false, nil
					_ = out.WriteRTP(q) // a subscriber that is gone
				}
			}
		})
	})
	if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: m.Payload.SDP}); err != nil {
		return err
	}
	answer, err := pc.CreateAnswer(nil)
	if err != nil {
		return err
	}
	if err := pc.SetLocalDescription(answer); err != nil {
		return err
	}
	st.tell(st.id, wire.MediaMessage{Type: wire.MediaAnswer, SID: m.SID, Payload: &wire.MediaPayload{Type: "answer", SDP: answer.SDP}})
	st.sfu.mu.Lock()
	st.sfu.pubs[st.id] = f
	st.sfu.mu.Unlock()
	return nil
}

func (st *seat) offer(to store.SessionID) error {
	st.sfu.mu.Lock()
	f := st.sfu.pubs[to]
	st.sfu.count++
	sid := "sid-" + strconv.Itoa(st.sfu.count)
	st.sfu.mu.Unlock()
	if f == nil {
		return wire.ErrNotAllowed
	}
	pc, err := st.connection(to, sid)
	if err != nil {
		return err
	}
	for _, track := range []webrtc.TrackLocal{f.audio, f.video} {
		sender, err := pc.AddTrack(track)
		if err != nil {
			return err
		}
		st.sfu.tasks.Go(func() {
			for {
				if _, _, err := sender.ReadRTCP(); err != nil {
					return
				}
			}
		})
	}
	if _, err := pc.CreateDataChannel("status", nil); err != nil {
		return err
	}
	offer, err := pc.CreateOffer(nil)
	if err != nil {
		return err
	}
	st.tell(to, wire.MediaMessage{Type: wire.MediaOffer, SID: sid, Payload: &wire.MediaPayload{Type: "offer", SDP: offer.SDP}})
	return pc.SetLocalDescription(offer)
}

// call tells everybody who is in the call.
func (s *sfu) call() {
	s.mu.Lock()
	defer s.mu.Unlock()
	in := 7
	for _, st := range s.seats {
		st.say(wire.InCallAllEvent("room", in))
	}
}
