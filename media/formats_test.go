package media

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	pionsdp "github.com/pion/sdp/v3"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestPreferences: what browsers are answered, and what is offered to those who
// receive it. A file of testdata/codecs has the lines that are about codecs, for
// each browser and preference.
func TestPreferences(t *testing.T) {
	e := testEngine(t, Config{})
	for name, prefer := range map[string]Preference{
		"none":           {},
		"vp8":            {Video: []string{"vp8", "vp9"}},
		"vp9":            {Video: []string{"vp9", "vp8", "h264"}},
		"vp9-profile-2":  {Video: []string{"vp9"}, VP9Profile: "2"},
		"vp9-profile-7":  {Video: []string{"vp9"}, VP9Profile: "7"},
		"h264":           {Video: []string{"h264"}},
		"h264-baseline":  {Video: []string{"H264"}, H264Profile: "420034"},
		"h264-main":      {Video: []string{"h264"}, H264Profile: "4d001f"},
		"h264-high":      {Video: []string{"h264"}, H264Profile: "640c1f"},
		"av1":            {Video: []string{"av1"}},
		"unknown":        {Audio: []string{"isac32"}, Video: []string{"h265", "theora"}},
		"unknown-first":  {Video: []string{"h265", "vp9"}},
		"audio-as-video": {Video: []string{"opus"}},
		"g722":           {Audio: []string{"g722", "opus"}},
		"pcmu":           {Audio: []string{"isac16", "pcmu"}},
		"pcma":           {Audio: []string{"pcma"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got strings.Builder
			for _, browser := range []string{"chromium-plain", "firefox-plain"} {
				got.WriteString("== " + browser + ": answered\n")
				answer, offer := converse(t, e, PubID{Session: "s", Kind: KindVideo}, sample(t, browser), prefer)
				got.WriteString(aboutCodecs(t, answer))
				got.WriteString("== " + browser + ": offered to others\n")
				got.WriteString(aboutCodecs(t, offer))
			}
			golden(t, filepath.Join("testdata", "codecs", name+".txt"), got.String())
		})
	}
}

// testEngine runs at any port until the test ends.
func testEngine(t *testing.T, cfg Config) *Engine {
	t.Helper()
	cfg.ListenUDP = "127.0.0.1:0"
	e, err := NewEngine(cfg, Deps{Self: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	life, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(life) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return e
}

// converse lets the engine answer, and offer to somebody what it has taken.
func converse(t *testing.T, e *Engine, id PubID, text string, prefer Preference) (answer, offer string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	p, answer, err := e.Publish(ctx, PublishRequest{ID: id, Offer: text, Prefer: prefer})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	s, offer, err := e.Subscribe(ctx, SubscribeRequest{Publications: []Publication{p.Publication()}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	return answer, offer
}

// aboutCodecs are the lines of a description that are about codecs.
func aboutCodecs(t *testing.T, text string) string {
	t.Helper()
	d := &pionsdp.SessionDescription{}
	if err := d.UnmarshalString(text); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, m := range d.MediaDescriptions {
		if m.MediaName.Media != Audio && m.MediaName.Media != Video {
			continue
		}
		b.WriteString("m=" + m.MediaName.String() + "\n")
		for _, a := range m.Attributes {
			switch a.Key {
			case "rtpmap", "fmtp", "rtcp-fb":
				b.WriteString("a=" + a.Key + ":" + a.Value + "\n")
			}
		}
	}
	return b.String()
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestProfileOfH264(t *testing.T) {
	for id, want := range map[string]string{
		"42e01f": "constrained baseline", "42c00d": "constrained baseline", "4d801f": "constrained baseline", "58c01f": "constrained baseline",
		"42001f": "baseline", "42800a": "baseline", "58801f": "baseline",
		"4d001f": "main", "4d401f": "main",
		"4d201f": "", "58001f": "", "640c1f": "", "42e11f": "", "42e0": "", "42e01f1f": "", "x": "", "": "",
	} {
		if got := levelProfile(id); got != want {
			t.Errorf("%s is %q, want %q", id, got, want)
		}
	}
}

// TestFormatOf: what is published by one node is known to the other, and what one
// stream has is not continued by another.
func TestFormatOf(t *testing.T) {
	types := map[uint8]string{}
	for i := range formats {
		f := &formats[i]
		if formatOf(f.codec) != f {
			t.Errorf("%s %s is taken for another", f.name, f.codec.Fmtp)
		}
		for _, payload := range []uint8{f.payload, f.repair} {
			if payload != 0 && types[payload] != "" {
				t.Errorf("payload type %d is that of %s and %s", payload, f.name, types[payload])
			}
			types[payload] = f.name
		}
		for j := range formats {
			if f.codec.same(formats[j].codec) != (i == j) {
				t.Errorf("%s %s and %s %s", f.name, f.codec.Fmtp, formats[j].name, formats[j].codec.Fmtp)
			}
		}
		if got, want := f.begins != nil, f.kind == Video && f.name != "vp8"; got != want {
			t.Errorf("%s: keyframes are known %v, want %v", f.name, got, want)
		}
	}
	for _, c := range []Codec{
		{}, {MimeType: "video/H265", ClockRate: videoClock}, {MimeType: mimeVP8, ClockRate: 8000}, {MimeType: mimeOpus, ClockRate: 48000},
		{MimeType: "video/H264", ClockRate: videoClock}, {MimeType: "video/H264", ClockRate: videoClock, Fmtp: "packetization-mode=0;profile-level-id=42e01f"},
		{MimeType: "video/VP9", ClockRate: videoClock, Fmtp: "profile-id=1"}, {MimeType: "video/AV1", ClockRate: videoClock, Fmtp: "profile=1"},
	} {
		if f := formatOf(c); f != nil {
			t.Errorf("%+v is %s", c, f.name)
		}
	}
	if f := formatOf(Codec{MimeType: "video/h264", ClockRate: videoClock, Fmtp: "profile-level-id=42C028; Packetization-Mode=1"}); f == nil || f.payload != 102 {
		t.Errorf("H.264 written otherwise is %v", f)
	}
}
