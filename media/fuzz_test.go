package media

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	pionsdp "github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"
)

func seeds(f *testing.F) {
	f.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "offers", "*.sdp"))
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b))
	}
}

// FuzzOffer: whatever parseOffer accepts, the library answers or refuses without
// a panic, and the publication is a valid one, whatever the publisher prefers.
func FuzzOffer(f *testing.F) {
	seeds(f)
	n := fuzzNetwork(f)
	f.Fuzz(func(t *testing.T, text string) {
		for _, prefer := range []Preference{
			{},
			{Audio: []string{"pcmu", "pcma", "g722"}, Video: []string{"h264", "av1", "vp9"}, H264Profile: "4d001f"},
		} {
			fuzzOffer(t, n, text, prefer)
		}
	})
}

func fuzzOffer(t *testing.T, n *network, text string, prefer Preference) {
	t.Helper()
	o, err := parseOffer(text, prefer)
	if err != nil {
		if !errors.Is(err, ErrBadOffer) {
			t.Fatalf("not ErrBadOffer: %v", err)
		}
		return
	}
	pub := Publication{ID: PubID{Session: "s", Kind: KindVideo}, Tracks: o.tracks(), Data: o.data()}
	if err := pub.Validate(); err != nil {
		t.Fatalf("accepted, but %v", err)
	}
	if _, err := formatsIn([]Publication{pub}); err != nil {
		t.Fatalf("accepted, but %v", err)
	}
	m, err := forPublishers(o.formats())
	if err != nil {
		t.Fatal(err)
	}
	c, err := newConn(t.Context(), n, m, newIngress(o, new(Pool), n.metrics), nil, nil, func(v any) { panic(v) })
	if err != nil {
		t.Fatal(err)
	}
	p := &Publisher{conn: c}
	defer func() { _ = p.Close() }()
	answer, err := p.negotiate(context.Background(), o, 1_000_000)
	if err != nil {
		if !errors.Is(err, ErrBadOffer) {
			t.Fatalf("refused otherwise than by ErrBadOffer: %v", err)
		}
		return
	}
	var d pionsdp.SessionDescription
	if err := d.UnmarshalString(answer); err != nil || len(d.MediaDescriptions) != len(o.sections) {
		t.Fatalf("answer is none: %v\n%s", err, answer)
	}
}

// FuzzAnswer: whatever cleanAnswer accepts, the library takes or refuses without
// a panic, whatever was offered.
func FuzzAnswer(f *testing.F) {
	seeds(f)
	n := fuzzNetwork(f)
	f.Fuzz(func(t *testing.T, text string) {
		for _, tracks := range [][]TrackInfo{
			{{Kind: Audio, Codec: codecOpus()}, {Kind: Video, Codec: codecVP8()}},
			{{Kind: Audio, Codec: codecOpus()}, {Kind: Video, Codec: formatsOf(Video)[4].codec}},
		} {
			fuzzAnswer(t, n, text, tracks)
		}
	})
}

func fuzzAnswer(t *testing.T, n *network, text string, tracks []TrackInfo) {
	t.Helper()
	m, err := forSubscribers([]*format{formatOf(tracks[0].Codec), formatOf(tracks[1].Codec)})
	if err != nil {
		t.Fatal(err)
	}
	out := &egress{}
	c, err := newConn(t.Context(), n, m, out, nil, nil, func(v any) { panic(v) })
	if err != nil {
		t.Fatal(err)
	}
	s := &Subscriber{conn: c, egress: out, e: &Engine{metrics: &metrics{}}}
	defer func() { _ = s.Close() }()
	for i, track := range tracks {
		track.Index = uint8(i)
		d := newDownTrack("s", track, &traffic{}, s.e.metrics)
		if _, err := c.pc.AddTransceiverFromTrack(d, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.pc.CreateDataChannel(dataLabel, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Offer(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := s.Answer(text); err != nil && !errors.Is(err, ErrBadAnswer) && !errors.Is(err, ErrBadCandidate) && !errors.Is(err, ErrClosed) {
		t.Fatalf("refused otherwise than by ErrBadAnswer: %v", err)
	}
}

func fuzzNetwork(f *testing.F) *network {
	f.Helper()
	e := &Engine{}
	m, err := newMetrics(e, nil)
	if err != nil {
		f.Fatal(err)
	}
	n, err := newNetwork(Config{ListenUDP: "127.0.0.1:0"}, Deps{}, m)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = n.Close() })
	return n
}

// FuzzPacket: parsing and normalising stay within the packet, and what comes out
// parses again.
func FuzzPacket(f *testing.F) {
	f.Add([]byte{0x80, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3})
	f.Add([]byte{0x90, 111, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0xbe, 0xde, 0, 1, 0x50, 7, 0, 0, 9})
	f.Add([]byte{0x90, 111, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0x10, 0, 0, 1, 5, 1, 7, 0, 9})
	f.Add([]byte{0xb1, 111, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 0x10, 0, 0, 0, 9, 9, 2})
	var ext [256]uint8
	ext[5], ext[6] = ExtAudioLevel, ExtVideoOrientation
	var pool Pool
	f.Fuzz(func(t *testing.T, raw []byte) {
		p := pool.Get()
		defer p.Release()
		n := copy(p.Buffer(), raw)
		if p.Parse(n) != nil {
			return
		}
		payload := string(p.Payload())
		p.normalise(PayloadOpus, &ext)
		if string(p.Payload()) != payload {
			t.Fatal("payload changed")
		}
		level := string(p.Extension(ExtAudioLevel))
		q := pool.Get()
		defer q.Release()
		if err := q.Parse(copy(q.Buffer(), p.Raw())); err != nil {
			t.Fatalf("normalised packet: %v", err)
		}
		if string(q.Payload()) != payload || string(q.Extension(ExtAudioLevel)) != level || q.PayloadType() != PayloadOpus {
			t.Fatal("not the same after a second parse")
		}
	})
}
