package media

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	pionsdp "github.com/pion/sdp/v3"
)

// origin is the owner of the sections of a stream: track and layer.
type origin struct{ track, layer uint8 }

// tracks describes what the offer publishes.
func (o *offer) tracks() []TrackInfo {
	var tracks []TrackInfo
	for _, s := range o.sections {
		if s.kind != Audio && s.kind != Video || !s.sends {
			continue
		}
		t := TrackInfo{Index: uint8(len(tracks)), Kind: s.kind, Codec: s.format.codec}
		for i, rid := range s.rids {
			t.Layers = append(t.Layers, LayerInfo{Index: uint8(i), RID: rid})
		}
		for i := range s.ssrcs {
			t.Layers = append(t.Layers, LayerInfo{Index: uint8(i)})
		}
		tracks = append(tracks, t)
	}
	return tracks
}

// formats are those of what is taken.
func (o *offer) formats() (used []*format) {
	for _, s := range o.sections {
		if s.kind != "" && s.format != nil {
			used = append(used, s.format)
		}
	}
	return used
}

func (o *offer) data() bool {
	return slices.ContainsFunc(o.sections, func(s *section) bool { return s.kind == application })
}

// stream is a layer as the publisher will send it.
type stream struct {
	origin
	section *section
	rid     string // "": known by its SSRCs
	flow    flow
}

// streams lists the layers.
func (o *offer) streams() []stream {
	var streams []stream
	var track uint8
	for _, s := range o.sections {
		if s.kind != Audio && s.kind != Video || !s.sends {
			continue
		}
		for i, rid := range s.rids {
			streams = append(streams, stream{origin{track, uint8(i)}, s, rid, flow{}})
		}
		for i, f := range s.ssrcs {
			streams = append(streams, stream{origin{track, uint8(i)}, s, "", f})
		}
		track++
	}
	return streams
}

// layerMid names the section by which a layer is described to the library.
// Chromium announces its simulcast as several SSRCs of one section; the library
// knows one stream a section, so all but the first get sections of their own.
// "~" keeps the names apart from those of clients, where it is refused.
func layerMid(mid string, layer int) string {
	if layer == 0 {
		return mid
	}
	return fmt.Sprintf("%s~%d", mid, layer)
}

// describe writes the offer for the WebRTC library: only what parseOffer
// understood, and the extra sections of layerMid at the end.
func (o *offer) describe() string {
	d := &descriptor{}
	d.head()
	var mids []string
	for _, s := range o.sections {
		if s.kind != "" {
			mids = append(mids, layerMid(s.mid, 0))
		}
	}
	for _, s := range o.sections {
		for i := 1; i < len(s.ssrcs); i++ {
			mids = append(mids, layerMid(s.mid, i))
		}
	}
	d.line("a=group:BUNDLE " + strings.Join(mids, " "))
	o.describePeer(d)
	for _, s := range o.sections {
		if s.kind != "" {
			o.describeSection(d, s, 0)
		}
	}
	for _, s := range o.sections {
		for i := 1; i < len(s.ssrcs); i++ {
			o.describeSection(d, s, i)
		}
	}
	return d.String()
}

func (o *offer) describePeer(d *descriptor) {
	d.line("a=ice-ufrag:" + o.peer.ufrag)
	d.line("a=ice-pwd:" + o.peer.pwd)
	d.line("a=ice-options:trickle")
	for _, f := range o.peer.fingerprints {
		d.line("a=fingerprint:" + f)
	}
}

func (o *offer) describeSection(d *descriptor, s *section, layer int) {
	mid := layerMid(s.mid, layer)
	if s.kind == application {
		d.line("m=application 9 UDP/DTLS/SCTP webrtc-datachannel")
	} else {
		formats := strconv.Itoa(int(s.payload))
		if s.rtx != 0 {
			formats += " " + strconv.Itoa(int(s.rtx))
		}
		d.line("m=" + s.kind + " 9 UDP/TLS/RTP/SAVPF " + formats)
	}
	d.line("c=IN IP4 0.0.0.0")
	d.line("a=mid:" + mid)
	d.line("a=setup:" + o.peer.setup)
	if s.kind == application {
		d.line("a=sctp-port:5000")
		d.line("a=max-message-size:" + strconv.Itoa(maxSCTPMessage))
		return
	}
	d.line("a=rtcp-mux")
	d.line("a=rtcp-rsize")
	switch {
	case o.answers && s.receives:
		d.line("a=recvonly")
	case !o.answers && s.sends:
		d.line("a=sendonly")
		d.line("a=msid:publisher " + s.kind + "-" + mid)
	default:
		d.line("a=inactive")
	}
	payload := strconv.Itoa(int(s.payload))
	d.line("a=rtpmap:" + payload + " " + s.format.rtpmap())
	fmtp := s.fmtp
	if o.answers {
		fmtp = s.format.codec.Fmtp // what was offered is sent, and the library compares
	}
	if fmtp != "" {
		d.line("a=fmtp:" + payload + " " + fmtp)
	}
	for _, f := range s.feedback {
		d.line("a=rtcp-fb:" + payload + " " + f)
	}
	if s.rtx != 0 {
		rtx := strconv.Itoa(int(s.rtx))
		d.line("a=rtpmap:" + rtx + " rtx/90000")
		d.line("a=fmtp:" + rtx + " apt=" + payload)
	}
	for _, id := range slices.Sorted(maps.Keys(s.ext)) {
		d.line(fmt.Sprintf("a=extmap:%d %s", id, s.ext[id]))
	}
	if o.answers {
		return
	}
	for _, rid := range s.rids {
		d.line("a=rid:" + rid + " send")
	}
	if len(s.rids) > 0 {
		d.line("a=simulcast:send " + strings.Join(s.rids, ";"))
	}
	if layer < len(s.ssrcs) {
		f := s.ssrcs[layer]
		if f.rtx != 0 {
			d.line(fmt.Sprintf("a=ssrc-group:FID %d %d", f.ssrc, f.rtx))
		}
		d.line(fmt.Sprintf("a=ssrc:%d cname:publisher", f.ssrc))
		if f.rtx != 0 {
			d.line(fmt.Sprintf("a=ssrc:%d cname:publisher", f.rtx))
		}
	}
}

// answer makes the answer to the publisher from the one the library gave to
// describe: without the extra sections, with the refused ones in their places.
func (o *offer) answer(text string, bitrate int) (string, error) {
	d := &pionsdp.SessionDescription{}
	if err := d.UnmarshalString(text); err != nil {
		return "", fmt.Errorf("media: own answer: %w", err)
	}
	byMid := map[string]*pionsdp.MediaDescription{}
	for _, m := range d.MediaDescriptions {
		if mid, ok := m.Attribute("mid"); ok {
			byMid[mid] = m
		}
	}
	var sections []*pionsdp.MediaDescription
	var mids []string
	for _, s := range o.sections {
		m := byMid[layerMid(s.mid, 0)]
		if s.kind == "" || m == nil {
			sections = append(sections, refusal(s))
			continue
		}
		setAttribute(&m.Attributes, "mid", s.mid)
		if s.kind == Video && s.sends && bitrate > 0 {
			// RFC 8866 5.8: AS in kbit/s for Chromium, TIAS in bit/s for Firefox.
			m.Bandwidth = []pionsdp.Bandwidth{{Type: "AS", Bandwidth: uint64(bitrate+999) / 1000}, {Type: "TIAS", Bandwidth: uint64(bitrate)}}
		}
		sections = append(sections, m)
		mids = append(mids, s.mid)
	}
	d.MediaDescriptions = sections
	setAttribute(&d.Attributes, "group", "BUNDLE "+strings.Join(mids, " "))
	out, err := d.Marshal()
	if err != nil {
		return "", fmt.Errorf("media: own answer: %w", err)
	}
	return string(out), nil
}

func refusal(s *section) *pionsdp.MediaDescription {
	return &pionsdp.MediaDescription{
		MediaName: pionsdp.MediaName{
			Media:   s.media,
			Port:    pionsdp.RangedPort{Value: 0},
			Protos:  strings.Split(s.proto, "/"),
			Formats: []string{s.first},
		},
		ConnectionInformation: &pionsdp.ConnectionInformation{
			NetworkType: "IN", AddressType: "IP4", Address: &pionsdp.Address{Address: "0.0.0.0"},
		},
		Attributes: []pionsdp.Attribute{{Key: "mid", Value: s.mid}, {Key: "inactive"}},
	}
}

func setAttribute(attributes *[]pionsdp.Attribute, key, value string) {
	for i := range *attributes {
		if (*attributes)[i].Key == key {
			(*attributes)[i].Value = value
			return
		}
	}
	*attributes = append(*attributes, pionsdp.Attribute{Key: key, Value: value})
}

// descriptor writes a session description line by line.
type descriptor struct{ strings.Builder }

func (d *descriptor) line(s string) {
	d.WriteString(s)
	d.WriteString("\r\n")
}

func (d *descriptor) head() {
	d.line("v=0")
	d.line("o=- 1 1 IN IP4 0.0.0.0")
	d.line("s=-")
	d.line("t=0 0")
}
