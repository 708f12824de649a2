package rewrite

import (
	"bytes"
	"testing"
)

func TestKeyframe(t *testing.T) {
	for _, c := range []struct {
		name     string
		keyframe func([]byte) bool
		in       []byte
		want     bool
	}{
		{"VP9: nothing", KeyframeVP9, nil, false},
		{"VP9: descriptor only", KeyframeVP9, []byte{0x08}, false},
		// I, B, V: picture id 0x1234, then a scalability structure of one layer.
		{"VP9: Chromium, key", KeyframeVP9, []byte{0x8a, 0x92, 0x34, 0x08, 0x01, 0x40, 0x82, 0x49}, true},
		{"VP9: Chromium, key, second packet", KeyframeVP9, []byte{0x84, 0x92, 0x34, 0x11}, false},
		{"VP9: Chromium, delta", KeyframeVP9, []byte{0xcc, 0x92, 0x35, 0x86}, false},
		{"VP9: no picture id", KeyframeVP9, []byte{0x08, 0x82}, true},
		{"VP9: narrow id, lowest layer", KeyframeVP9, []byte{0xa8, 0x11, 0x00, 0x01, 0x82}, true},
		{"VP9: wide id, lowest layer", KeyframeVP9, []byte{0xa8, 0x91, 0x11, 0x00, 0x01, 0x82}, true},
		{"VP9: flexible, lowest layer", KeyframeVP9, []byte{0xb8, 0x91, 0x11, 0x00, 0x82}, true},
		{"VP9: second layer of a key picture", KeyframeVP9, []byte{0xa8, 0x91, 0x11, 0x03, 0x01, 0x82}, false},
		{"VP9: second layer, by itself", KeyframeVP9, []byte{0xa8, 0x91, 0x11, 0x02, 0x01, 0x82}, false},
		{"VP9: temporal layer, switching up", KeyframeVP9, []byte{0xe8, 0x91, 0x11, 0x50, 0x01, 0x82}, false},
		{"VP9: cut in the id", KeyframeVP9, []byte{0xa8, 0x91}, false},
		{"VP9: cut before the layer", KeyframeVP9, []byte{0xa8, 0x91, 0x11}, false},
		{"VP9: cut before the layer, narrow", KeyframeVP9, []byte{0xa8, 0x11}, false},

		{"H.264: nothing", KeyframeH264, nil, false},
		{"H.264: header only", KeyframeH264, []byte{0x67}, false},
		{"H.264: SPS", KeyframeH264, []byte{0x67, 0x42, 0xe0, 0x1f}, true},
		{"H.264: PPS", KeyframeH264, []byte{0x68, 0xce, 0x3c, 0x80}, false},
		{"H.264: IDR without SPS", KeyframeH264, []byte{0x65, 0x88, 0x84}, false},
		{"H.264: slice", KeyframeH264, []byte{0x41, 0x9a, 0x24}, false},
		{"H.264: STAP-A of SPS and PPS", KeyframeH264, []byte{0x78, 0, 4, 0x67, 0x42, 0xe0, 0x1f, 0, 2, 0x68, 0xce}, true},
		{"H.264: STAP-A, AUD first", KeyframeH264, []byte{0x78, 0, 2, 0x09, 0xf0, 0, 4, 0x67, 0x42, 0xe0, 0x1f}, true},
		{"H.264: STAP-A of SEI and slice", KeyframeH264, []byte{0x78, 0, 2, 0x06, 0x05, 0, 2, 0x41, 0x9a}, false},
		{"H.264: STAP-A cut", KeyframeH264, []byte{0x78, 0, 4, 0x67, 0x42}, false},
		{"H.264: STAP-A cut in the length", KeyframeH264, []byte{0x78, 0, 2, 0x09, 0xf0, 0}, false},
		{"H.264: STAP-A with an empty unit", KeyframeH264, []byte{0x78, 0, 0, 0, 4, 0x67, 0x42, 0xe0, 0x1f}, false},
		{"H.264: FU-A of an IDR", KeyframeH264, []byte{0x7c, 0x85, 0x88}, false},
		{"H.264: FU-A of an SPS, begin", KeyframeH264, []byte{0x7c, 0x87, 0x42}, true},
		{"H.264: FU-A of an SPS, end", KeyframeH264, []byte{0x7c, 0x47, 0x1f}, false},

		{"AV1: nothing", KeyframeAV1, nil, false},
		{"AV1: header only", KeyframeAV1, []byte{0x08}, false},
		{"AV1: new sequence", KeyframeAV1, []byte{0x18, 0x0a, 0x0b, 0, 0}, true},
		{"AV1: new sequence, goes on in the next packet", KeyframeAV1, []byte{0x68, 0x0b, 0x08, 0}, true},
		{"AV1: delta", KeyframeAV1, []byte{0x10, 0x32, 0}, false},
		{"AV1: continued", KeyframeAV1, []byte{0x90, 0x32, 0}, false},
		{"AV1: contradiction", KeyframeAV1, []byte{0x98, 0x32, 0}, false},
	} {
		if got := c.keyframe(c.in); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
		if n := testing.AllocsPerRun(10, func() { c.keyframe(c.in) }); n != 0 {
			t.Errorf("%s: %v allocations", c.name, n)
		}
	}
}

func FuzzKeyframeVP9(f *testing.F) {
	f.Add([]byte{0xa8, 0x91, 0x11, 0x00, 0x01, 0x82})
	fuzzKeyframe(f, KeyframeVP9)
}

func FuzzKeyframeH264(f *testing.F) {
	f.Add([]byte{0x78, 0, 2, 0x09, 0xf0, 0, 4, 0x67, 0x42, 0xe0, 0x1f})
	fuzzKeyframe(f, KeyframeH264)
}

func FuzzKeyframeAV1(f *testing.F) {
	f.Add([]byte{0x18, 0x0a, 0x0b, 0, 0})
	fuzzKeyframe(f, KeyframeAV1)
}

// fuzzKeyframe: nothing beyond the payload is read, the payload is left alone, and
// what stands behind that by which a keyframe is known makes no difference.
func fuzzKeyframe(f *testing.F, keyframe func([]byte) bool) {
	f.Helper()
	f.Fuzz(func(t *testing.T, b []byte) {
		was := bytes.Clone(b)
		got := keyframe(b[:len(b):len(b)])
		if !bytes.Equal(b, was) {
			t.Fatal("payload changed")
		}
		if got && !keyframe(append(was, 0x67, 0xff)) {
			t.Fatal("no keyframe any more with something behind it")
		}
	})
}
