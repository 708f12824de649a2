package wire

import (
	"encoding/json"
	"fmt"

	"github.com/talkd/talkd/store"
)

// MediaType is the type of data that drive media.
type MediaType string

// The types of data that a node handles itself when they are addressed to a
// session.
const (
	MediaOffer           MediaType = "offer"
	MediaAnswer          MediaType = "answer"
	MediaCandidate       MediaType = "candidate"
	MediaEndOfCandidates MediaType = "endOfCandidates"
	MediaRequestOffer    MediaType = "requestoffer"
	MediaSendOffer       MediaType = "sendoffer"
	MediaSelectStream    MediaType = "selectStream"
	MediaUnshareScreen   MediaType = "unshareScreen"
)

// What a publication shows.
const (
	RoomTypeVideo  = "video"
	RoomTypeScreen = "screen"
)

// MediaMessage is the data of a message about media, both ways.
type MediaMessage struct {
	Type        MediaType       `json:"type"`
	From        store.SessionID `json:"from,omitempty"`
	To          store.SessionID `json:"to,omitempty"`
	SID         string          `json:"sid,omitempty"`
	RoomType    string          `json:"roomType,omitempty"`
	Broadcaster store.SessionID `json:"broadcaster,omitempty"`
	Payload     *MediaPayload   `json:"payload,omitempty"`
	// Bitrate goes with an offer: the publisher wants to stay below it, in bits per
	// second.
	Bitrate int `json:"bitrate,omitempty"`
	// So does what it would rather send than Opus and VP8: names of codecs with
	// commas between them, the best first, and which profiles of them.
	AudioCodec  string `json:"audiocodec,omitempty"`
	VideoCodec  string `json:"videocodec,omitempty"`
	VP9Profile  string `json:"vp9profile,omitempty"`
	H264Profile string `json:"h264profile,omitempty"`
}

// MediaPayload has the fields of all types. Type and SDP go with offer and
// answer, Candidate with candidate, the last four with selectStream.
type MediaPayload struct {
	Type      string     `json:"type,omitempty"`
	SDP       string     `json:"sdp,omitempty"`
	Nick      string     `json:"nick,omitempty"`
	Candidate *Candidate `json:"candidate,omitempty"`
	Substream *int       `json:"substream,omitempty"`
	Temporal  *int       `json:"temporal,omitempty"`
	Video     *bool      `json:"video,omitempty"`
	Audio     *bool      `json:"audio,omitempty"`
}

// Candidate is an ICE candidate as browsers write it.
type Candidate struct {
	Candidate     string  `json:"candidate"`
	SDPMid        string  `json:"sdpMid"`
	SDPMLineIndex *uint16 `json:"sdpMLineIndex,omitempty"`
}

// Limits of media messages.
const (
	maxMid       = 64
	maxCandidate = 1024
	maxLayer     = 15
	maxCodecs    = 255
)

// DecodeMedia reads the data of a message if they are about media. For all other
// data it returns nil and no error: they are the business of the clients.
//
// The data must have come through Decode, which bounds them.
func DecodeMedia(data json.RawMessage) (*MediaMessage, error) {
	// The type is read first and alone: data of other types may use the other
	// names for whatever they like.
	t := MediaType(DataType(data))
	if !t.known() {
		return nil, nil
	}
	m := &MediaMessage{}
	if err := json.Unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("%w: data of %s: %w", ErrFormat, t, shapeOf(err))
	}
	return m, m.validate()
}

// DataControl is the type of data that web clients take for what they hear by a control
// message, such as to be mute, however they come.
const DataControl = "control"

// DataType is the type that data name, "" if they name none.
//
// The data must have come through Decode: so there is one reading of it.
func DataType(data json.RawMessage) string {
	if !isObject(data) {
		return ""
	}
	var head struct {
		Type json.RawMessage `json:"type"`
	}
	var t string
	if json.Unmarshal(data, &head) != nil || json.Unmarshal(head.Type, &t) != nil {
		return ""
	}
	return t
}

// ForOneSession tells whether data of this type are for a session and nobody else: a
// node takes part in what comes of them. That a screen is not shared any more is said to
// all.
func ForOneSession(dataType string) bool {
	return MediaType(dataType).known() && MediaType(dataType) != MediaUnshareScreen
}

func (t MediaType) known() bool {
	switch t {
	case MediaOffer, MediaAnswer, MediaCandidate, MediaEndOfCandidates,
		MediaRequestOffer, MediaSendOffer, MediaSelectStream, MediaUnshareScreen:
		return true
	}
	return false
}

func (m *MediaMessage) validate() error {
	switch m.RoomType {
	case RoomTypeVideo, RoomTypeScreen:
	default:
		return fmt.Errorf("%w: roomType %.32q", ErrFormat, m.RoomType)
	}
	if err := checkText("sid", m.SID, 0, maxSID); err != nil {
		return err
	}
	switch m.Type {
	case MediaOffer, MediaAnswer:
		if m.Payload == nil || m.Payload.SDP == "" {
			return ErrNoSDP
		}
		for _, s := range []string{m.AudioCodec, m.VideoCodec, m.VP9Profile, m.H264Profile} {
			if err := checkText("codecs", s, 0, maxCodecs); err != nil {
				return err
			}
		}
	case MediaCandidate:
		if m.Payload == nil || m.Payload.Candidate == nil {
			return ErrNoCandidate
		}
		return m.Payload.Candidate.validate()
	case MediaSelectStream:
		if m.Payload == nil {
			return fmt.Errorf("%w: selectStream without payload", ErrFormat)
		}
		return m.Payload.validateSelection()
	}
	return nil
}

func (c *Candidate) validate() error {
	if len(c.Candidate) > maxCandidate || checkText("candidate", c.Candidate, 0, maxCandidate) != nil ||
		checkText("sdpMid", c.SDPMid, 0, maxMid) != nil {
		return ErrInvalidCandidate
	}
	return nil
}

func (p *MediaPayload) validateSelection() error {
	for _, layer := range []*int{p.Substream, p.Temporal} {
		if layer != nil && (*layer < 0 || *layer > maxLayer) {
			return fmt.Errorf("%w: no such layer", ErrFormat)
		}
	}
	return nil
}

// Encode writes the data for a message. All fields are our own or went through
// DecodeMedia, so there is nothing that could not be written.
func (m *MediaMessage) Encode() json.RawMessage { return Marshal(m) }
