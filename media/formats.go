package media

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/talkd/talkd/media/rewrite"
)

// The payload types of the cluster's form, which are those of our offers as well.
// VP8 and Opus are what is taken where nothing else is preferred.
const (
	PayloadOpus = 111
	PayloadVP8  = 96
)

const (
	mimeOpus = "audio/opus"
	mimeVP8  = "video/VP8"
	mimeRTX  = "video/rtx"
)

// format is a codec that this node forwards, with the profile about which sender
// and receivers must be of one mind. All that is known of a codec is here.
type format struct {
	name    string // in a Preference
	kind    string
	codec   Codec // as it is published in the cluster and offered to subscribers
	payload uint8 // in the cluster's form and in our offers
	repair  uint8 // of its retransmissions (RFC 4588) in our offers; 0: none
	// profile reads the parameters that belong to the codec: formats of one name are
	// told apart by it. "" is one that is not forwarded; nil: there are none.
	profile func(fmtp string) string
	// begins tells whether a payload begins a keyframe. It is nil for audio, and for
	// VP8, whose descriptor is rewritten and so read anyhow.
	begins func(payload []byte) bool
}

// formats begin with the two that are taken where nothing else is preferred, as every
// client of Nextcloud's has them and a room mixes clients. The profiles of a codec
// are in the order in which they are tried: of H.264 first the one that all of
// WebRTC has (RFC 7742 6.2).
var formats = [...]format{
	// RFC 7587.
	{name: "opus", kind: Audio, payload: PayloadOpus, codec: Codec{MimeType: mimeOpus, ClockRate: 48000, Channels: 2, Fmtp: "minptime=10;useinbandfec=1"}},
	// RFC 7741.
	{name: "vp8", kind: Video, payload: PayloadVP8, repair: 97, codec: Codec{MimeType: mimeVP8, ClockRate: videoClock}},
	// RFC 3551: payload types that never change. The clock of G.722 is that of an erratum.
	{name: "g722", kind: Audio, payload: 9, codec: Codec{MimeType: "audio/G722", ClockRate: 8000}},
	{name: "pcmu", kind: Audio, payload: 0, codec: Codec{MimeType: "audio/PCMU", ClockRate: 8000}},
	{name: "pcma", kind: Audio, payload: 8, codec: Codec{MimeType: "audio/PCMA", ClockRate: 8000}},
	// RFC 9628: 4:2:0 of 8 bits and of 10.
	vp9(98, "profile-id=0"),
	vp9(100, "profile-id=2"),
	// RFC 6184: constrained baseline, baseline and main.
	h264(102, "42e01f"),
	h264(104, "42001f"),
	h264(106, "4d001f"),
	// RTP Payload Format For AV1 1.0: the main profile.
	{name: "av1", kind: Video, payload: 108, repair: 109, profile: profileAV1, begins: rewrite.KeyframeAV1,
		codec: Codec{MimeType: "video/AV1", ClockRate: videoClock, Fmtp: "level-idx=5;profile=0;tier=0"}},
}

// videoClock is that of every payload format of video.
const videoClock = 90000

func vp9(payload uint8, fmtp string) format {
	return format{name: "vp9", kind: Video, payload: payload, repair: payload + 1, profile: profileVP9, begins: rewrite.KeyframeVP9,
		codec: Codec{MimeType: "video/VP9", ClockRate: videoClock, Fmtp: fmtp}}
}

// h264 is packetised without interleaving, the mode that all of WebRTC has. The
// level is what a receiver is told to expect; it may differ each way.
func h264(payload uint8, level string) format {
	return format{name: "h264", kind: Video, payload: payload, repair: payload + 1, profile: profileH264, begins: rewrite.KeyframeH264,
		codec: Codec{MimeType: "video/H264", ClockRate: videoClock, Fmtp: "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=" + level}}
}

func profileVP9(fmtp string) string { return cmp.Or(parameter(fmtp, "profile-id"), "0") }

func profileAV1(fmtp string) string { return cmp.Or(parameter(fmtp, "profile"), "0") }

func profileH264(fmtp string) string {
	if parameter(fmtp, "packetization-mode") != "1" {
		return ""
	}
	return levelProfile(parameter(fmtp, "profile-level-id"))
}

// levelProfile names the profile in a profile-level-id (RFC 6184 8.1, table 5).
func levelProfile(id string) string {
	b, err := hex.DecodeString(id)
	if err != nil || len(b) != 3 || b[1]&0x0f != 0 {
		return ""
	}
	const idcBaseline, idcMain, idcExtended = 0x42, 0x4d, 0x58
	const set0, set1, set2 = 0x80, 0x40, 0x20 // what else the stream adheres to
	switch sets := b[1]; {
	case b[0] == idcBaseline && sets&set1 != 0, b[0] == idcMain && sets&set0 != 0, b[0] == idcExtended && sets&(set0|set1) == set0|set1:
		return "constrained baseline"
	case b[0] == idcBaseline, b[0] == idcExtended && sets&set0 != 0:
		return "baseline"
	case b[0] == idcMain && sets&set2 == 0:
		return "main"
	}
	return ""
}

// parameter is one of those of an a=fmtp line, "" when it is absent.
func parameter(fmtp, key string) string {
	for part := range strings.SplitSeq(fmtp, ";") {
		k, v, _ := strings.Cut(strings.TrimSpace(part), "=")
		if strings.EqualFold(k, key) {
			return v
		}
	}
	return ""
}

// rtpmap is the codec as session descriptions write it (RFC 8866 6.6).
func (f *format) rtpmap() string {
	_, name, _ := strings.Cut(f.codec.MimeType, "/")
	if f.codec.Channels > 1 {
		return fmt.Sprintf("%s/%d/%d", name, f.codec.ClockRate, f.codec.Channels)
	}
	return fmt.Sprintf("%s/%d", name, f.codec.ClockRate)
}

// fits tells whether parameters that others write mean this format.
func (f *format) fits(fmtp string) bool {
	return f.profile == nil || f.profile(fmtp) == f.profile(f.codec.Fmtp)
}

// formatOf is nil for a codec that is not forwarded.
func formatOf(c Codec) *format {
	for i := range formats {
		f := &formats[i]
		if strings.EqualFold(c.MimeType, f.codec.MimeType) && c.ClockRate == f.codec.ClockRate && c.Channels == f.codec.Channels && f.fits(c.Fmtp) {
			return f
		}
	}
	return nil
}

// formatsOf are all of a kind.
func formatsOf(kind string) (all []*format) {
	for i := range formats {
		if formats[i].kind == kind {
			all = append(all, &formats[i])
		}
	}
	return all
}

// usual is what is taken of a kind where nothing else is preferred.
func usual(kind string) *format {
	if kind == Audio {
		return &formats[0]
	}
	return &formats[1]
}

func codecOpus() Codec { return usual(Audio).codec }

func codecVP8() Codec { return usual(Video).codec }

// same tells whether a stream of the one can be continued by the other.
func (c Codec) same(d Codec) bool {
	f := formatOf(c)
	return f != nil && f == formatOf(d)
}

// forwardable tells whether subscribers are offered this codec.
func (t TrackInfo) forwardable() bool {
	f := formatOf(t.Codec)
	return f != nil && f.kind == t.Kind
}

// Preference is what a publisher would rather send than Opus and VP8, the best
// first, by the names of the signaling protocol: opus, g722, pcmu, pcma; vp8, vp9,
// h264, av1. Others are passed over. If it sends none of them, it is Opus and VP8.
type Preference struct {
	Audio, Video []string
	// VP9Profile is a profile-id, H264Profile a profile-level-id, of which the
	// profile counts. Others of the codec are taken where that is not to be had.
	VP9Profile, H264Profile string
}

// formats are those to look for in an offer, one after the other.
func (p Preference) formats(kind string) (list []*format) {
	names := p.Video
	if kind == Audio {
		names = p.Audio
	}
	of := formatsOf(kind)
	for _, name := range names {
		var named, favoured []*format
		for _, f := range of {
			switch {
			case !strings.EqualFold(f.name, name) || slices.Contains(list, f):
			case p.favours(f):
				favoured = append(favoured, f)
			default:
				named = append(named, f)
			}
		}
		list = slices.Concat(list, favoured, named)
	}
	return append(list, usual(kind))
}

func (p Preference) favours(f *format) bool {
	switch f.name {
	case "vp9":
		return profileVP9(f.codec.Fmtp) == p.VP9Profile
	case "h264":
		return profileH264(f.codec.Fmtp) == levelProfile(p.H264Profile)
	}
	return false
}
