package signaling

import (
	"strings"
	"time"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// media hands a message about media to the desk. It is not handled if it is
// for the other session itself; offer then is the kind of publication that the
// other one is to be offered.
func (s *Session) media(id string, to store.SessionID, m *wire.MediaMessage) (offer string, handled bool) {
	own := to == s.id
	switch {
	case m.Type == wire.MediaSendOffer && !own:
		if seat := s.currentSeat(); seat == nil || !seat.maySend(m.RoomType) {
			s.fail(id, wire.ErrNotAllowed)
			return "", true
		}
		return m.RoomType, false
	case m.Type == wire.MediaUnshareScreen && !own:
		return "", false
	}
	seat := s.currentSeat()
	if seat == nil {
		s.fail(id, wire.ErrNotAllowed)
		return "", true
	}
	if own && m.Type == wire.MediaOffer && !seat.mayOffer(m) {
		s.fail(id, wire.ErrNotAllowed)
		return "", true
	}
	if (m.Type == wire.MediaOffer || m.Type == wire.MediaRequestOffer) && s.rate.take(time.Now(), costOffer) > 0 {
		s.fail(id, wire.ErrTooManyRequests)
		return "", true
	}
	s.desk.Handle(to, m, func(err error) {
		if err != nil {
			s.fail(id, err)
		}
	})
	return "", true
}

// mayOffer tells whether the permissions cover what an offer sends.
func (st *seat) mayOffer(m *wire.MediaMessage) bool {
	if m.RoomType == wire.RoomTypeScreen {
		return st.allowed(backend.PermissionPublishScreen)
	}
	if st.allowed(backend.PermissionPublishMedia) {
		return true
	}
	audio, video := sends(m.Payload.SDP)
	return (!audio || st.allowed(backend.PermissionPublishAudio)) && (!video || st.allowed(backend.PermissionPublishVideo))
}

// maySend is mayOffer where nothing says what is sent: some of it.
func (st *seat) maySend(kind string) bool {
	if kind == wire.RoomTypeScreen {
		return st.allowed(backend.PermissionPublishScreen)
	}
	return st.allowed(backend.PermissionPublishMedia, backend.PermissionPublishAudio, backend.PermissionPublishVideo)
}

// mayPublish is mayOffer for what is published already.
func (st *seat) mayPublish(p media.Publication) bool {
	if p.ID.Kind == media.KindScreen {
		return st.allowed(backend.PermissionPublishScreen)
	}
	if st.allowed(backend.PermissionPublishMedia) {
		return true
	}
	_, audio := p.Track(media.Audio)
	_, video := p.Track(media.Video)
	return (!audio || st.allowed(backend.PermissionPublishAudio)) && (!video || st.allowed(backend.PermissionPublishVideo))
}

// sends tells which kinds of media the offer wants to send: those of its
// sections that are not for receiving only (RFC 8866, section 6.7). Port 0 says
// nothing, as it also stands for a section that goes with another one (RFC 9143,
// section 6).
func sends(sdp string) (audio, video bool) {
	if strings.Contains(strings.ReplaceAll(sdp, "\r\n", "\n"), "\r") {
		return true, true // readers differ in what such lines are; no client writes them
	}
	var kind string
	sending := false
	commit := func() {
		audio = audio || sending && kind == media.Audio
		video = video || sending && kind == media.Video
	}
	for line := range strings.Lines(sdp) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case strings.HasPrefix(line, "m="):
			commit()
			kind, sending = strings.ToLower(line[len("m="):]), true
			if end := strings.IndexAny(kind, " \t"); end >= 0 {
				kind = kind[:end]
			}
		case line == "a=recvonly" || line == "a=inactive":
			sending = false
		}
	}
	commit()
	return audio, video
}
