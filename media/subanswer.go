package media

import (
	"fmt"
	"strings"

	pionsdp "github.com/pion/sdp/v3"
)

// cleanAnswer writes a subscriber's answer anew for the WebRTC library: what fits
// the offer and is understood, nothing else. The candidates are apart. Every
// error is an ErrBadAnswer.
func cleanAnswer(text, offered string) (clean string, candidates []string, err error) {
	own := &pionsdp.SessionDescription{}
	if err := own.UnmarshalString(offered); err != nil {
		return "", nil, fmt.Errorf("media: own offer: %w", err)
	}
	d, err := parseSDP(text)
	if err != nil {
		return "", nil, fmt.Errorf("%w: %w", ErrBadAnswer, err)
	}
	if len(d.MediaDescriptions) != len(own.MediaDescriptions) {
		return "", nil, fmt.Errorf("%w: %d sections instead of %d", ErrBadAnswer, len(d.MediaDescriptions), len(own.MediaDescriptions))
	}
	a := &offer{answers: true}
	for i, m := range d.MediaDescriptions {
		mid, _ := own.MediaDescriptions[i].Attribute("mid")
		if _, named := m.Attribute("mid"); !named && m.MediaName.Port.Value == 0 {
			// Who refuses a section need not name it (RFC 8829 5.3.1).
			m.Attributes = append(m.Attributes, pionsdp.Attribute{Key: "mid", Value: mid})
		}
		s, err := parseSection(m, offeredIn(own.MediaDescriptions[i]))
		if err != nil {
			return "", nil, fmt.Errorf("%w: %w", ErrBadAnswer, err)
		}
		if s.mid != mid || s.media != own.MediaDescriptions[i].MediaName.Media {
			return "", nil, fmt.Errorf("%w: section %d is not the one offered", ErrBadAnswer, i)
		}
		a.sections = append(a.sections, s)
	}
	if a.peer, err = parsePeer(d); err != nil {
		return "", nil, fmt.Errorf("%w: %w", ErrBadAnswer, err)
	}
	if a.peer.setup == "actpass" { // an answer decides
		return "", nil, fmt.Errorf("%w: setup", ErrBadAnswer)
	}
	clean, err = a.describeAnswer()
	return clean, a.peer.candidates, err
}

// offeredIn is the format of a section of ours.
func offeredIn(m *pionsdp.MediaDescription) []*format {
	s := &section{}
	if s.pick(m, formatsOf(m.MediaName.Media)); s.format == nil {
		return nil
	}
	return []*format{s.format}
}

func (o *offer) describeAnswer() (string, error) {
	d := &descriptor{}
	d.head()
	var mids []string
	for _, s := range o.sections {
		if s.kind != "" {
			mids = append(mids, s.mid)
		}
	}
	if len(mids) == 0 {
		return "", fmt.Errorf("%w: everything refused", ErrBadAnswer)
	}
	d.line("a=group:BUNDLE " + strings.Join(mids, " "))
	o.describePeer(d)
	for _, s := range o.sections {
		if s.kind == "" {
			if s.media == application {
				d.line("m=" + s.media + " 0 " + s.proto + " " + s.first)
			} else {
				// The library looks up the payload types also of what is refused, and would
				// refuse the whole answer for one that it does not find. This one is nobody's.
				d.line("m=" + s.media + " 0 " + s.proto + " 19")
				d.line("a=rtpmap:19 reserved/8000")
			}
			d.line("c=IN IP4 0.0.0.0")
			d.line("a=mid:" + s.mid)
			d.line("a=inactive")
			continue
		}
		o.describeSection(d, s, 0)
	}
	return d.String(), nil
}
