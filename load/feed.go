package load

import (
	"time"

	"github.com/pion/rtp"
)

// What a publisher sends: 25 frames and 50 voice packets a second.
const (
	tick          = 20 * time.Millisecond
	ticksPerFrame = 2

	opusRate    = 48_000
	opusStep    = opusRate / 1000 * 20
	opusBitrate = 32_000 // of the payloads, unless another one is asked for
	opusSpread  = 24     // bytes between the smallest packet and the largest
	voiceRate   = 50     // packets a second

	vp8Rate = 90_000
	vp8Step = vp8Rate / 1000 * 40
	// vp8Bitrate is that of the payloads, over any few seconds, unless another
	// one is asked for.
	vp8Bitrate     = 1_000_000
	vp8FrameRate   = 25
	vp8MinPayload  = 1100
	vp8MaxPayload  = 1200
	vp8MinPackets  = 2
	vp8KeyPackets  = 12
	keyframeFrames = 75 // at least each 3 s
)

// The numbers start shortly before they wrap, so that even a short run crosses
// every border.
const (
	firstSequence  = 1<<16 - 150
	firstTimestamp = 1<<32 - 2*vp8Rate
	firstPicture   = 1<<15 - 40
)

// audioFeed makes the voice packets of one publisher.
type audioFeed struct {
	source uint16
	share  int // bytes of a packet, on average
	number uint32
}

func newAudioFeed(source uint16, bitrate int) audioFeed {
	return audioFeed{source: source, share: bitrate / 8 / voiceRate}
}

func (f *audioFeed) packet(sent time.Duration, tail bool) *rtp.Packet {
	s := stamp{
		Source:    f.source,
		Kind:      Audio,
		Number:    f.number,
		Frame:     f.number,
		Timestamp: timestamp(opusStep, f.number),
		Sent:      sent,
		First:     true,
		Last:      true,
		Tail:      tail,
	}
	size := f.share - opusSpread/2 + int(mix(uint64(f.number))%opusSpread)
	f.number++
	return packet(s, f.number == 1, appendStamp([]byte{opusTOC}, s, size))
}

// videoFeed makes the frames of one publisher. A keyframe is larger than its
// share; the frames after it pay that back, as an encoder's rate control does.
type videoFeed struct {
	source uint16
	share  int // bytes of a frame, on average
	number uint32
	frames uint32
	toKey  int // frames until the next keyframe is due
	credit int // bytes that may be sent, negative after a keyframe
}

func newVideoFeed(source uint16, bitrate int) videoFeed {
	return videoFeed{source: source, share: bitrate / 8 / vp8FrameRate}
}

// frame makes the packets of the next frame. sent is asked for each packet.
func (f *videoFeed) frame(sent func() time.Duration, key, tail bool) []*rtp.Packet {
	key = key || f.toKey == 0
	f.credit += f.share
	n := max(vp8MinPackets, f.credit/((vp8MinPayload+vp8MaxPayload)/2))
	if key {
		n = max(n, vp8KeyPackets)
		f.toKey = keyframeFrames
	}
	f.toKey--
	pic := picture{id: uint16(firstPicture+f.frames) & 0x7fff, tl0: uint8(f.frames)}
	packets := make([]*rtp.Packet, n)
	for i := range packets {
		s := stamp{
			Source:    f.source,
			Kind:      Video,
			Number:    f.number,
			Frame:     f.frames,
			Timestamp: timestamp(vp8Step, f.frames),
			Sent:      sent(),
			First:     i == 0,
			Last:      i == n-1,
			Key:       key,
			Tail:      tail,
		}
		var codec []byte
		if s.First {
			codec = frameTag(key)
		}
		d := descriptor(s.First, key, pic)
		size := vp8MinPayload + int(mix(uint64(f.number))%(vp8MaxPayload-vp8MinPayload+1))
		payload := append(d, appendStamp(codec, s, size-len(d))...)
		packets[i] = packet(s, s.Last, payload)
		f.credit -= len(payload)
		f.number++
	}
	f.frames++
	return packets
}

func timestamp(step, n uint32) uint32 {
	var first uint32 = firstTimestamp // a variable, as the sum wraps
	return first + step*n
}

// packet has no SSRC and payload type: the track knows them.
func packet(s stamp, marker bool, payload []byte) *rtp.Packet {
	return &rtp.Packet{
		Header: rtp.Header{
			Version:        2,
			Marker:         marker,
			SequenceNumber: uint16(firstSequence + s.Number),
			Timestamp:      s.Timestamp,
		},
		Payload: payload,
	}
}
