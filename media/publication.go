package media

import (
	"fmt"

	"github.com/talkd/talkd/store"
)

// Kinds of a publication: what Nextcloud's protocol calls roomType.
const (
	KindVideo  = "video"
	KindScreen = "screen"
)

// Kinds of a track.
const (
	Audio = "audio"
	Video = "video"
)

// PubID names a publication in the whole cluster. A session that publishes
// again raises the generation; one that came back without its media raises
// the incarnation.
type PubID struct {
	Session     store.SessionID `json:"session"`
	Incarnation uint32          `json:"incarnation,omitempty"`
	Kind        string          `json:"kind"`
	Generation  uint32          `json:"generation,omitempty"`
}

// String writes the id for logs. It shows a prefix of the session only, as a
// log is no place for something that works like an address.
func (id PubID) String() string {
	return fmt.Sprintf("%.12s/%s/%d.%d", id.Session, id.Kind, id.Incarnation, id.Generation)
}

// Valid tells whether the id may come from outside.
func (id PubID) Valid() bool {
	return id.Session != "" && len(id.Session) <= maxSessionID && (id.Kind == KindVideo || id.Kind == KindScreen)
}

// Publication describes what a publisher sends. It is derived from the SDP and
// exists as soon as the offer is answered, so that somebody who joins muted is
// published too.
type Publication struct {
	ID     PubID        `json:"id"`
	Edge   store.NodeID `json:"edge"`
	Group  string       `json:"group"`
	Tracks []TrackInfo  `json:"tracks"`
	Data   bool         `json:"data,omitempty"`
}

// TrackInfo describes one audio or video track.
type TrackInfo struct {
	Index  uint8       `json:"index"`
	Kind   string      `json:"kind"`
	Codec  Codec       `json:"codec"`
	Layers []LayerInfo `json:"layers"`
}

// LayerInfo describes one encoding of a track. Layers are ordered from the
// lowest quality to the best.
type LayerInfo struct {
	Index uint8  `json:"index"`
	RID   string `json:"rid,omitempty"`
}

// Codec is a codec in the words of RFC 4566 and the codec's payload format.
type Codec struct {
	MimeType  string `json:"mime_type"`
	ClockRate uint32 `json:"clock_rate"`
	Channels  uint16 `json:"channels,omitempty"`
	Fmtp      string `json:"fmtp,omitempty"`
}

// Candidate is an ICE candidate as browsers trickle it.
type Candidate struct {
	Candidate     string  `json:"candidate"`
	SDPMid        string  `json:"sdpMid"`
	SDPMLineIndex *uint16 `json:"sdpMLineIndex"`
}

// Bounds of a publication that comes from another node.
const (
	MaxTracks    = 4
	MaxLayers    = 3
	maxSessionID = 1024
)

// Validate checks a publication that another node announced.
func (p Publication) Validate() error {
	if !p.ID.Valid() {
		return fmt.Errorf("%w: id", ErrBadPublication)
	}
	if len(p.Tracks) == 0 && !p.Data || len(p.Tracks) > MaxTracks {
		return fmt.Errorf("%w: %d tracks", ErrBadPublication, len(p.Tracks))
	}
	for i, t := range p.Tracks {
		if int(t.Index) != i || t.Kind != Audio && t.Kind != Video || t.Codec.ClockRate == 0 {
			return fmt.Errorf("%w: track %d", ErrBadPublication, i)
		}
		if len(t.Layers) == 0 || len(t.Layers) > MaxLayers {
			return fmt.Errorf("%w: %d layers of track %d", ErrBadPublication, len(t.Layers), i)
		}
		for j, l := range t.Layers {
			if int(l.Index) != j {
				return fmt.Errorf("%w: layer %d of track %d", ErrBadPublication, j, i)
			}
		}
	}
	return nil
}

// Track returns the first track of the kind.
func (p Publication) Track(kind string) (TrackInfo, bool) {
	for _, t := range p.Tracks {
		if t.Kind == kind {
			return t, true
		}
	}
	return TrackInfo{}, false
}
