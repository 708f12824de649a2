package load

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/pion/rtp"
)

func at(d time.Duration) func() time.Duration { return func() time.Duration { return d } }

// TestVideoFeed: the stream is what a browser could send, at the rate promised.
func TestVideoFeed(t *testing.T) {
	f := newVideoFeed(3, vp8Bitrate)
	const frames = 250 // 10 s
	var bytes, packets int
	var next uint32
	for n := range frames {
		asked := n == 100
		frame := f.frame(at(time.Duration(n)*40*time.Millisecond), asked, false)
		for i, p := range frame {
			if len(p.Payload) < 1100 || len(p.Payload) > 1200 {
				t.Fatalf("frame %d: payload of %d bytes", n, len(p.Payload))
			}
			s, pic, err := readVideo(p.Payload)
			if err != nil {
				t.Fatalf("frame %d packet %d: %v", n, i, err)
			}
			key := n == 0 || n == 75 || n == 100 || n == 175
			if s.Key != key {
				t.Fatalf("frame %d: keyframe %v", n, s.Key)
			}
			first, last := i == 0, i == len(frame)-1
			want := stamp{
				Source: 3, Kind: Video, Number: next, Frame: uint32(n), Timestamp: p.Timestamp,
				Sent: time.Duration(n) * 40 * time.Millisecond, First: first, Last: last, Key: key,
			}
			if s != want || p.Marker != last {
				t.Fatalf("frame %d packet %d: %+v, want %+v", n, i, s, want)
			}
			if pic.id != uint16(firstPicture+n)&0x7fff || pic.tl0 != uint8(n) {
				t.Fatalf("frame %d: %+v", n, pic)
			}
			if p.SequenceNumber != uint16(firstSequence+next) {
				t.Fatalf("packet %d: sequence %d", next, p.SequenceNumber)
			}
			bytes += len(p.Payload)
			next++
		}
		packets += len(frame)
	}
	if rate := float64(bytes) * 8 / 10; rate < 0.98e6 || rate > 1.02e6 {
		t.Errorf("%.0f bit/s in %d packets, want 1 Mbit/s", rate, packets)
	}
}

func TestAudioFeed(t *testing.T) {
	f := newAudioFeed(4, opusBitrate)
	sizes := map[int]bool{}
	for n := range uint32(200) {
		p := f.packet(time.Second, n == 199)
		s, err := readAudio(p.Payload)
		if err != nil {
			t.Fatal(err)
		}
		if s.Number != n || s.Tail != (n == 199) || s.Source != 4 || s.Sent != time.Second {
			t.Fatalf("packet %d: %+v", n, s)
		}
		if n > 0 && p.Timestamp != timestamp(opusStep, n-1)+opusStep {
			t.Fatalf("packet %d: timestamp %d", n, p.Timestamp)
		}
		sizes[len(p.Payload)] = true
	}
	if len(sizes) < 10 {
		t.Errorf("payloads of %d sizes only", len(sizes))
	}
}

// TestEveryChangeIsSeen flips each bit of a packet in turn.
func TestEveryChangeIsSeen(t *testing.T) {
	voice := newAudioFeed(1, opusBitrate)
	video := newVideoFeed(1, vp8Bitrate)
	key := video.frame(at(0), false, false)
	delta := video.frame(at(0), false, false)
	for name, c := range map[string]struct {
		payload []byte
		read    func([]byte) error
		free    []int // bytes that nodes may rewrite
	}{
		"audio":       {voice.packet(0, false).Payload, func(b []byte) error { _, err := readAudio(b); return err }, nil},
		"keyframe":    {key[0].Payload, func(b []byte) error { _, _, err := readVideo(b); return err }, []int{0, 1, 2, 3, 4, 5}},
		"within":      {key[1].Payload, func(b []byte) error { _, _, err := readVideo(b); return err }, []int{0, 1, 2, 3, 4, 5}},
		"inter frame": {delta[0].Payload, func(b []byte) error { _, _, err := readVideo(b); return err }, []int{0, 1, 2, 3, 4, 5}},
	} {
		t.Run(name, func(t *testing.T) {
			if err := c.read(c.payload); err != nil {
				t.Fatal(err)
			}
			for bit := range len(c.payload) * 8 {
				if slices.Contains(c.free, bit/8) {
					continue
				}
				changed := slices.Clone(c.payload)
				changed[bit/8] ^= 1 << (bit % 8)
				if c.read(changed) == nil {
					t.Fatalf("bit %d of byte %d is not seen", bit%8, bit/8)
				}
			}
			for n := range len(c.payload) {
				if c.read(c.payload[:n]) == nil {
					t.Fatalf("cut to %d bytes is not seen", n)
				}
			}
			longer := append(slices.Clone(c.payload), 0)
			if err := c.read(longer); !errors.Is(err, ErrChanged) {
				t.Errorf("a byte more: %v", err)
			}
		})
	}
	// Of the descriptor, what has a meaning is checked against the stamp.
	for _, change := range []struct {
		name string
		at   int
		with byte
	}{
		{"not the start of a frame", 0, 0x10}, {"no extension", 0, 0x80}, {"another partition", 0, 0x01},
		{"no TL0PICIDX", 1, 0x40}, {"a higher temporal layer", 5, 0x40},
	} {
		b := slices.Clone(key[0].Payload)
		b[change.at] ^= change.with
		if _, _, err := readVideo(b); err == nil {
			t.Errorf("%s: not seen", change.name)
		}
	}
}

// FuzzPayload: whatever a node sends, a receiver only counts it.
func FuzzPayload(f *testing.F) {
	voice := newAudioFeed(1, opusBitrate)
	video := newVideoFeed(1, vp8Bitrate)
	f.Add(voice.packet(0, false).Payload)
	for _, p := range video.frame(at(0), false, false)[:2] {
		f.Add(p.Payload)
	}
	f.Add([]byte{0x90, 0xf0, 0x80})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, s := range []*Stream{NewStream(1, Audio), NewStream(1, Video)} {
			s.Take(&rtp.Packet{Payload: b}, 0, false)
			if c := s.Counts(0); c.Received+c.Changed != 1 {
				t.Errorf("%d received, %d changed", c.Received, c.Changed)
			}
		}
	})
}
