package media

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	pionsdp "github.com/pion/sdp/v3"
)

// Bounds of what comes from outside.
const (
	maxSDP        = 64 << 10
	maxSections   = 8
	maxAttributes = 512 // of one section; Chromium's video has about 120
	maxCandidate  = 1 << 10
	maxCandidates = 20 // of one connection, described and trickled together
	maxToken      = 32
	// maxFmtp are the parameters of a format, which are looked at for each codec that is
	// wanted and each mention of the format.
	maxFmtp = 256
)

// offer is a publisher's offer, as far as this node makes use of it. Nothing of
// the original text reaches the WebRTC library: describe writes it anew.
//
//	text ──parseOffer──▶ offer ──describe──▶ library ──▶ its answer ──answer──▶ text
type offer struct {
	peer     peer
	sections []*section // in the order of the offer
	answers  bool       // it is a subscriber's answer
}

// peer is the transport of the other side; all sections share it (BUNDLE).
type peer struct {
	setup        string
	ufrag, pwd   string
	fingerprints []string
	candidates   []string
}

// section is one m= line.
type section struct {
	mid      string
	kind     string // Audio, Video, "application"; "" is refused
	media    string // as offered, for the refusal
	proto    string
	first    string
	sends    bool
	receives bool
	format   *format // nil but for Audio and Video
	payload  uint8   // the other side's
	rtx      uint8   // 0 without retransmission format
	fmtp     string
	feedback []string
	ext      map[uint8]string // by the publisher's id
	rids     []string         // from the lowest quality to the best
	ssrcs    []flow           // likewise
}

// flow is a stream that the offer names by SSRC.
type flow struct{ ssrc, rtx uint32 }

const application = "application"

// clockRate is that of the timestamps.
func (s *section) clockRate() uint32 { return s.format.codec.ClockRate }

// parseOffer reads an offer of a publisher that prefers some codecs to others.
// Every error is an ErrBadOffer.
func parseOffer(text string, prefer Preference) (*offer, error) {
	d, err := parseSDP(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadOffer, err)
	}
	o := &offer{}
	used := map[string]bool{}
	for _, m := range d.MediaDescriptions {
		s, err := parseSection(m, prefer.formats(m.MediaName.Media))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrBadOffer, err)
		}
		if used[s.mid] {
			return nil, fmt.Errorf("%w: mid twice", ErrBadOffer)
		}
		used[s.mid] = true
		// One of each kind: a client has one camera and one microphone in a
		// connection, and the rest is refused section by section.
		if s.kind != "" && used["kind "+s.kind] {
			s.kind = ""
		}
		used["kind "+s.kind] = true
		o.sections = append(o.sections, s)
	}
	if o.peer, err = parsePeer(d); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadOffer, err)
	}
	if o.peer.setup == "passive" {
		return nil, fmt.Errorf("%w: the other side must be the DTLS client", ErrBadOffer)
	}
	if _, err := o.bundle(); err != nil {
		return nil, err
	}
	return o, nil
}

// parseSDP bounds what the parser sees and what it returns.
func parseSDP(text string) (*pionsdp.SessionDescription, error) {
	if len(text) > maxSDP {
		return nil, fmt.Errorf("%d bytes", len(text))
	}
	d := &pionsdp.SessionDescription{}
	if err := d.UnmarshalString(text); err != nil {
		// The library's error repeats the text, which is nothing for a log.
		return nil, fmt.Errorf("not a session description")
	}
	if n := len(d.MediaDescriptions); n == 0 || n > maxSections {
		return nil, fmt.Errorf("%d sections", n)
	}
	for _, m := range d.MediaDescriptions {
		if len(m.Attributes) > maxAttributes || len(m.MediaName.Formats) > maxAttributes {
			return nil, fmt.Errorf("section too large")
		}
	}
	return d, nil
}

func (o *offer) bundle() (*section, error) {
	for _, s := range o.sections {
		if s.kind == application || s.kind != "" && s.sends {
			return s, nil
		}
	}
	return nil, fmt.Errorf("%w: nothing that this node takes", ErrBadOffer)
}

func parsePeer(d *pionsdp.SessionDescription) (peer, error) {
	var p peer
	value := func(key string) string {
		for _, m := range d.MediaDescriptions {
			if v, ok := m.Attribute(key); ok {
				return v
			}
		}
		v, _ := d.Attribute(key)
		return v
	}
	p.ufrag, p.pwd = value("ice-ufrag"), value("ice-pwd")
	if !iceChars(p.ufrag, 4) || !iceChars(p.pwd, 22) {
		return peer{}, fmt.Errorf("ICE credentials")
	}
	switch p.setup = value("setup"); p.setup {
	case "active", "actpass", "passive":
	default:
		return peer{}, fmt.Errorf("no DTLS role")
	}
	attributes := d.Attributes
	for _, m := range d.MediaDescriptions {
		attributes = append(slices.Clip(attributes), m.Attributes...)
	}
	for _, a := range attributes {
		switch a.Key {
		case "fingerprint":
			if !fingerprint(a.Value) {
				return peer{}, fmt.Errorf("fingerprint")
			}
			if len(p.fingerprints) < 4 && !slices.Contains(p.fingerprints, a.Value) {
				p.fingerprints = append(p.fingerprints, a.Value)
			}
		case "candidate":
			if candidateUsable(a.Value) && len(p.candidates) < maxCandidates && !slices.Contains(p.candidates, a.Value) {
				p.candidates = append(p.candidates, a.Value)
			}
		}
	}
	if len(p.fingerprints) == 0 {
		return peer{}, fmt.Errorf("no fingerprint")
	}
	return p, nil
}

// parseSection reads a section, of which the first of the wanted formats that is
// there is taken.
func parseSection(m *pionsdp.MediaDescription, wanted []*format) (*section, error) {
	s := &section{
		media: m.MediaName.Media,
		proto: strings.Join(m.MediaName.Protos, "/"),
		sends: true, receives: true,
		ext: map[uint8]string{},
	}
	if len(m.MediaName.Formats) > 0 {
		s.first = m.MediaName.Formats[0]
	}
	if !token(s.media) || !token(strings.ReplaceAll(s.proto, "/", "")) || !token(s.first) {
		return nil, fmt.Errorf("m= line")
	}
	var ok bool
	if s.mid, ok = m.Attribute("mid"); !ok || !token(s.mid) || strings.Contains(s.mid, "~") {
		return nil, fmt.Errorf("section without mid")
	}
	if m.MediaName.Port.Value == 0 {
		if _, only := m.Attribute("bundle-only"); !only {
			return s, nil // refused by the other side
		}
	}
	switch s.media {
	case application:
		if s.first == "webrtc-datachannel" {
			s.kind = application
		}
	case Audio, Video:
		s.parseCodec(m, wanted)
	}
	return s, nil
}

func (s *section) parseCodec(m *pionsdp.MediaDescription, wanted []*format) {
	s.pick(m, wanted)
	if s.format == nil {
		return
	}
	s.kind = s.media
	payload := strconv.Itoa(int(s.payload))
	groups := map[uint32]uint32{}
	var ssrcs, simulcast []uint32
	var rids []string
	for _, a := range m.Attributes {
		switch a.Key {
		case "recvonly":
			s.sends = false
		case "sendonly":
			s.receives = false
		case "inactive":
			s.sends, s.receives = false, false
		case "rtcp-fb":
			for _, prefix := range []string{payload + " ", "* "} {
				if v, ok := strings.CutPrefix(a.Value, prefix); ok && knownFeedback(v) && !slices.Contains(s.feedback, v) {
					s.feedback = append(s.feedback, v)
				}
			}
		case "extmap":
			s.parseExt(a.Value)
		case "rid":
			if f := strings.Fields(a.Value); len(f) >= 2 && f[1] == "send" && token(f[0]) && !slices.Contains(rids, f[0]) {
				rids = append(rids, f[0])
			}
		case "ssrc":
			first, _, _ := strings.Cut(a.Value, " ")
			if n, err := strconv.ParseUint(first, 10, 32); err == nil && n != 0 && !slices.Contains(ssrcs, uint32(n)) {
				ssrcs = append(ssrcs, uint32(n))
			}
		case "ssrc-group":
			kind, members := parseGroup(a.Value)
			switch {
			case kind == "FID" && len(members) == 2:
				groups[members[0]] = members[1]
			case kind == "SIM" && simulcast == nil:
				simulcast = members
			}
		}
	}
	if !s.sends {
		return
	}
	s.layers(rids, simulcast, ssrcs, groups)
}

// layers settles which streams the section brings: those of its rids, else
// those of its simulcast group, else the first one.
func (s *section) layers(rids []string, simulcast, ssrcs []uint32, groups map[uint32]uint32) {
	if s.kind == Video && len(rids) > 0 {
		slices.SortStableFunc(rids, func(a, b string) int { return cmp.Compare(ridRank(a), ridRank(b)) })
		s.rids = rids[max(0, len(rids)-MaxLayers):]
		return
	}
	repair := map[uint32]bool{}
	for _, r := range groups {
		repair[r] = true
	}
	if s.kind != Video || len(simulcast) == 0 {
		simulcast = nil
		for _, n := range ssrcs {
			if !repair[n] {
				simulcast = []uint32{n}
				break
			}
		}
	}
	for _, n := range simulcast {
		if len(s.ssrcs) < MaxLayers && !repair[n] {
			s.ssrcs = append(s.ssrcs, flow{ssrc: n, rtx: groups[n]})
		}
	}
	if len(s.ssrcs) == 0 {
		s.sends = false // nothing by which its packets could be known
	}
}

// ridRank orders the names that clients give: low, medium, high, or quarter,
// half, full. Others keep the order of the offer.
func ridRank(rid string) int {
	switch rid {
	case "l", "q", "low":
		return 0
	case "m", "mid", "medium":
		return 1
	case "h", "high":
		return 2 // of q, h, f the middle one
	case "f", "full":
		return 3
	}
	return 1
}

// pick finds the format, and the payload types by which it goes here.
func (s *section) pick(m *pionsdp.MediaDescription, wanted []*format) {
	maps, fmtp := map[string]string{}, map[string]string{}
	for _, a := range m.Attributes {
		first, rest, _ := strings.Cut(a.Value, " ")
		switch a.Key {
		case "rtpmap":
			maps[first] = rest
		case "fmtp":
			if len(rest) <= maxFmtp && printable(rest) {
				fmtp[first] = rest
			}
		}
	}
	for _, want := range wanted {
		name := want.rtpmap()
		for _, f := range m.MediaName.Formats {
			if s.format != nil || !strings.EqualFold(strings.TrimSuffix(maps[f], "/1"), name) || !want.fits(fmtp[f]) {
				continue
			}
			if payload, ok := payloadType(f, want.payload); ok {
				s.format, s.payload, s.fmtp = want, payload, fmtp[f]
			}
		}
	}
	if s.format == nil || s.format.repair == 0 {
		return
	}
	for _, f := range m.MediaName.Formats {
		payload, ok := payloadType(f, s.format.repair)
		if ok && s.rtx == 0 && strings.EqualFold(maps[f], "rtx/90000") && parameter(fmtp[f], "apt") == strconv.Itoa(int(s.payload)) {
			s.rtx = payload
		}
	}
}

// payloadType accepts the dynamic ranges of RFC 3551 and RFC 5761 4, and the type
// that is the format's own: some audio has one for good.
func payloadType(s string, own uint8) (uint8, bool) {
	n, err := strconv.ParseUint(s, 10, 8)
	dynamic := n >= 35 && n <= 63 || n >= 96 && n <= 127
	return uint8(n), err == nil && (dynamic || uint8(n) == own)
}

func (s *section) parseExt(value string) {
	id, rest, _ := strings.Cut(value, " ")
	id, _, _ = strings.Cut(id, "/")
	uri, _, _ := strings.Cut(rest, " ")
	n, err := strconv.ParseUint(id, 10, 8)
	if err != nil || n == 0 || n == 15 {
		return
	}
	switch uri {
	case uriMid, uriTransportCC, uriAbsSendTime:
	case uriAudioLevel:
		if s.kind != Audio {
			return
		}
	case uriVideoOrientation, uriRID, uriRepairedRID:
		if s.kind != Video {
			return
		}
	default:
		return
	}
	for _, have := range s.ext {
		if have == uri {
			return
		}
	}
	if s.ext[uint8(n)] == "" {
		s.ext[uint8(n)] = uri
	}
}
