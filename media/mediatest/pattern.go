// Package mediatest has what tests of media need: clients that publish and
// receive over real WebRTC connections on loopback, and sources and publications
// without any network.
//
//	Generator ─▶ Publisher (client) ─▶ engine ─▶ Subscriber (client) ─▶ Checker
//	Generator ─▶ Source (fake) ─▶ layer …
//
// A Generator's payloads say what they are, so that a Checker can tell whether a
// stream came through unchanged, without a gap and with consistent timestamps.
// Every Publisher and Subscriber owns its goroutines; Close waits for them.
package mediatest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
)

// Kinds of a generated stream, as media.Audio and media.Video.
const (
	Audio = "audio"
	Video = "video"
)

const (
	videoRate = 90000
	audioRate = 48000

	markLen    = 16
	minPayload = headLen + markLen
)

// Mark is what a payload says of itself.
type Mark struct {
	Stream    uint32
	Counter   uint32 // of packets
	Timestamp uint32 // as the publisher sent it
	Keyframe  bool   // the packet begins one
	Picture   uint16 // of VP8 and VP9
}

// Unit is one packet to be sent.
type Unit struct {
	Payload   []byte
	Sequence  uint16
	Timestamp uint32
	Marker    bool
}

// Generator makes the packets of one stream, for several goroutines if need be.
type Generator struct {
	Kind   string
	Stream uint32
	// Codec is the MIME type of video, "" that of VP8.
	Codec string
	// Size is the length of a payload; PerFrame the packets of a video frame.
	Size     int
	PerFrame int
	// Uneven makes the first packet of a frame a byte shorter, as encoders do.
	Uneven bool

	base   uint16
	baseTS uint32

	mu      sync.Mutex
	counter uint32 // guarded by mu
	frame   uint32 // guarded by mu
	key     bool   // guarded by mu
}

// NewGenerator returns a generator whose numbers begin somewhere that depends on
// the stream.
func NewGenerator(kind string, stream uint32) *Generator {
	g := &Generator{
		Kind: kind, Stream: stream, Size: 200, PerFrame: 1, key: true,
		base: uint16(stream*40503 + 65000), baseTS: firstTimestamp(stream),
	}
	if kind == Video {
		g.Size, g.PerFrame = 1000, 3
	}
	return g
}

func firstTimestamp(stream uint32) uint32 { return stream*2654435761 + 4294900000 }

// frameTicks are 40 ms of video, 20 ms of audio.
func frameTicks(kind string) uint32 {
	if kind == Audio {
		return audioRate / 50
	}
	return videoRate / 25
}

// Frame is the number of the packet's frame since its generator began.
func (m Mark) Frame(kind string) int {
	return int((m.Timestamp - firstTimestamp(m.Stream)) / frameTicks(kind))
}

// Keyframe makes the next frame a keyframe.
func (g *Generator) Keyframe() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.key = true
}

// Frame returns the packets of the next frame of video, or 20 ms of audio.
func (g *Generator) Frame() []Unit {
	g.mu.Lock()
	defer g.mu.Unlock()
	ts := g.baseTS + g.frame*frameTicks(g.Kind)
	units := make([]Unit, 0, g.PerFrame)
	for i := range g.PerFrame {
		units = append(units, Unit{
			Payload:   g.payload(i == 0, ts),
			Sequence:  g.base + uint16(g.counter),
			Timestamp: ts,
			Marker:    g.Kind == Video && i == g.PerFrame-1,
		})
		g.counter++
	}
	g.frame++
	g.key = false
	return units
}

func (g *Generator) payload(first bool, ts uint32) []byte {
	size := max(g.Size, minPayload)
	if g.Uneven && first {
		size = max(size-1, minPayload)
	}
	b := make([]byte, size)
	rest := b
	if g.Kind == Video {
		codecOf(g.Codec).put(b, first, g.key, uint16(g.frame+7*g.Stream)&0x7fff)
		rest = b[headLen:]
	}
	binary.BigEndian.PutUint32(rest, g.Stream)
	binary.BigEndian.PutUint32(rest[4:], g.counter)
	binary.BigEndian.PutUint32(rest[8:], ts)
	binary.BigEndian.PutUint32(rest[12:], sum(rest[:12]))
	fill(rest[markLen:], g.counter^g.Stream)
	return b
}

// ErrPayload tells that a payload is not as it was made.
var ErrPayload = errors.New("mediatest: payload changed")

// read checks a payload and returns what it says of itself. codec is that of video.
func read(kind, codec string, payload []byte) (Mark, error) {
	var m Mark
	rest := payload
	if len(payload) < minPayload {
		return m, fmt.Errorf("%w: %d bytes", ErrPayload, len(payload))
	}
	if kind == Video {
		var ok bool
		if m.Keyframe, m.Picture, ok = codecOf(codec).read(payload); !ok {
			return m, fmt.Errorf("%w: head %x", ErrPayload, payload[:headLen])
		}
		rest = payload[headLen:]
	}
	m.Stream = binary.BigEndian.Uint32(rest)
	m.Counter = binary.BigEndian.Uint32(rest[4:])
	m.Timestamp = binary.BigEndian.Uint32(rest[8:])
	if binary.BigEndian.Uint32(rest[12:]) != sum(rest[:12]) {
		return m, fmt.Errorf("%w: mark", ErrPayload)
	}
	want := make([]byte, len(rest)-markLen)
	fill(want, m.Counter^m.Stream)
	if string(want) != string(rest[markLen:]) {
		return m, fmt.Errorf("%w: content of packet %d", ErrPayload, m.Counter)
	}
	return m, nil
}

func sum(b []byte) uint32 {
	h := uint32(2166136261)
	for _, c := range b {
		h = (h ^ uint32(c)) * 16777619
	}
	return h
}

func fill(b []byte, seed uint32) {
	x := seed | 1
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
}
