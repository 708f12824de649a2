// Package plan computes what meetings cost on paper: bandwidth, packets, nodes.
// It does no I/O; talkd plan prints it, and talkd bench compares a running
// cluster with it.
//
//	Meetings ── Rates ──> Traffic ── Cost, Node ──> Need
package plan

import "errors"

// Meetings are some that go on at the same time, all alike.
type Meetings struct {
	Count        int `json:"meetings"`
	Participants int `json:"participants"` // of each
	Cameras      int `json:"cameras"`      // participants who send picture and voice
	Screens      int `json:"screens"`      // participants who share a screen, beside all else
	Microphones  int `json:"microphones"`  // participants who send voice alone, all of them open
	Loudest      int `json:"loudest"`      // voices that are forwarded at a time; 0: all
}

// Errors of meetings that cannot be.
var (
	ErrMeetings   = errors.New("at least one meeting of one participant, and no negative number")
	ErrTooMany    = errors.New("more cameras, screens or microphones than participants")
	ErrMicrophone = errors.New("who has a camera has a microphone with it: cameras and microphones together are at most the participants")
)

// Validate tells whether such meetings can be.
func (m Meetings) Validate() error {
	switch {
	case m.Count < 1, m.Participants < 1, m.Cameras < 0, m.Screens < 0, m.Microphones < 0, m.Loudest < 0:
		return ErrMeetings
	case m.Cameras > m.Participants, m.Screens > m.Participants, m.Microphones > m.Participants:
		return ErrTooMany
	case m.Cameras+m.Microphones > m.Participants:
		return ErrMicrophone
	}
	return nil
}

// Rates are bits a second of one stream, as it is on the wire: with all headers.
type Rates struct {
	Stream float64 `json:"stream"` // camera and voice together
	Screen float64 `json:"screen"`
	Voice  float64 `json:"voice"` // alone
}

// DefaultRates are those of the product sheet.
func DefaultRates() Rates { return Rates{Stream: 1e6, Screen: 2e6, Voice: 50e3} }

// What a stream consists of.
const (
	// PacketBytes is a packet of video on the wire.
	PacketBytes = 1100
	// VoicePackets is how many packets a second a voice is: one for 20 ms.
	VoicePackets = 50
)

// Traffic is that of a server, or of all servers together.
type Traffic struct {
	In         float64 `json:"in_bps"`
	Out        float64 `json:"out_bps"`
	PacketsIn  float64 `json:"packets_in"`  // a second
	PacketsOut float64 `json:"packets_out"` // a second
	// What each receiver gets, but for what it sends itself, and what another node gets.
	passed, packetsPassed float64
	// Streams are tracks to a receiver: a camera with its voice is two.
	Streams int `json:"streams"`
	// Sending and Receiving are connections, when each receiver has one for each
	// that it receives, as Talk's clients have.
	Sending   int `json:"sending_connections"`
	Receiving int `json:"receiving_connections"`
}

// Traffic is what all meetings send to the servers and get from them. Each
// stream goes in once, and out to everybody else of its meeting, but for voices
// that are not among the loudest.
func (m Meetings) Traffic(r Rates) Traffic {
	one := m.meeting(r)
	n := float64(m.Count)
	return Traffic{
		In: n * one.In, Out: n * one.Out, PacketsIn: n * one.PacketsIn, PacketsOut: n * one.PacketsOut,
		Streams: m.Count * one.Streams, Sending: m.Count * one.Sending, Receiving: m.Count * one.Receiving,
	}
}

// meeting is the traffic of one.
func (m Meetings) meeting(r Rates) Traffic {
	cameras, screens, voices := float64(m.Cameras), float64(m.Screens), float64(m.Microphones)
	t := Traffic{
		In:        cameras*r.Stream + screens*r.Screen + voices*r.Voice,
		PacketsIn: cameras*(pictures(r.Stream-r.Voice)+VoicePackets) + screens*pictures(r.Screen) + voices*VoicePackets,
		Sending:   m.Cameras + m.Screens + m.Microphones,
	}
	unheard := m.unheard()
	t.passed, t.packetsPassed = t.In-float64(unheard)*r.Voice, t.PacketsIn-float64(unheard)*VoicePackets
	others := m.Participants - 1
	t.Out, t.PacketsOut = float64(others)*t.passed, float64(others)*t.packetsPassed
	t.Receiving = others * t.Sending
	t.Streams = others * (2*m.Cameras + m.Screens + m.Microphones - unheard)
	return t
}

// unheard are the voices that are not forwarded.
func (m Meetings) unheard() int {
	if m.Loudest == 0 {
		return 0
	}
	return max(m.Cameras+m.Microphones-m.Loudest, 0)
}

// pictures is how many packets a second video of a rate is.
func pictures(rate float64) float64 { return max(rate, 0) / 8 / PacketBytes }

// Link is what one participant needs.
type Link struct {
	Up   float64 `json:"up_bps"`
	Down float64 `json:"down_bps"`
}

// Speaker is the link of who sends most, and is heard: camera and screen, or what
// there is.
func (m Meetings) Speaker(r Rates) Link {
	var up float64
	switch {
	case m.Cameras > 0:
		up = r.Stream
	case m.Microphones > 0:
		up = r.Voice
	}
	if m.Screens > 0 {
		up += r.Screen
	}
	return Link{Up: up, Down: m.meeting(r).passed - up}
}

// Listener is the link of who sends least, and whether there is anybody who
// sends less than a speaker.
func (m Meetings) Listener(r Rates) (Link, bool) {
	quiet := m.Participants - m.Cameras - m.Microphones
	var up float64
	switch {
	case quiet > 0:
	case m.Microphones > 0:
		up = r.Voice
	default:
		up = r.Stream
	}
	own := up
	if up > 0 && m.unheard() > 0 {
		own -= r.Voice // it is not among those that are heard
	}
	return Link{Up: up, Down: m.meeting(r).passed - own}, up < m.Speaker(r).Up
}

// PeerToPeer is what each of n people with a camera would upload without a
// server: to everybody else.
func PeerToPeer(n int, r Rates) float64 { return float64(n-1) * r.Stream }
