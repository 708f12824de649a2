package media_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/pion/webrtc/v4"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/media/mediatest"
)

// TestCodecs: video of each codec begins with a keyframe, also for who comes later
// and goes on with the next publication; what is lost comes again; nothing in the
// payload is changed.
func TestCodecs(t *testing.T) {
	for i, codec := range []string{webrtc.MimeTypeVP9, webrtc.MimeTypeH264, webrtc.MimeTypeAV1} {
		t.Run(codec, func(t *testing.T) {
			t.Parallel()
			e := engine(t, media.Config{}, media.Deps{})
			cfg := mediatest.PublisherConfig{Audio: true, Video: true, Codec: codec, Stream: uint32(300 + 10*i)}
			sender, p := publish(t, e, pubID("a", 1), cfg)
			track, _ := p.Publication().Track(media.Video)
			if track.Codec.MimeType != codec {
				t.Fatalf("published as %+v", track.Codec)
			}
			sender.Start()
			lossy, _ := subscribe(t, e, mediatest.SubscriberConfig{
				Drop: func(kind string, seq uint16) bool { return kind == media.Video && seq%10 == 3 },
			}, false, p.Publication())
			// Also what was lost.
			first := wait(t, lossy, media.Video, packets(60))
			for _, fault := range first.Faults {
				t.Error(fault)
			}
			if !first.First.Keyframe {
				t.Error("video does not begin with a keyframe")
			}
			late, s := subscribe(t, e, mediatest.SubscriberConfig{}, false, p.Publication())
			r := wait(t, late, media.Video, packets(20))
			clean(t, r)
			if !r.First.Keyframe {
				t.Error("who comes later does not begin with a keyframe")
			}

			cfg.Stream++
			again, q := publish(t, e, pubID("a", 2), cfg)
			again.Start()
			if err := s.Rebind(q.Publication()); err != nil {
				t.Fatal(err)
			}
			clean(t, wait(t, late, media.Video, func(r mediatest.Report) bool { return len(r.Streams) == 2 && r.Missing == 0 }))
			cfg.Codec = ""
			_, other := publish(t, e, pubID("a", 3), cfg)
			if err := s.Rebind(other.Publication()); !errors.Is(err, media.ErrIncompatible) {
				t.Errorf("goes on with another codec: %v", err)
			}
		})
	}
}

// TestCodecsTogether: one connection has publications of several codecs, as a room
// mixes clients, and everybody gets what he can decode.
func TestCodecsTogether(t *testing.T) {
	t.Parallel()
	e := engine(t, media.Config{}, media.Deps{})
	var pubs []media.Publication
	var sender *mediatest.Publisher
	for i, codec := range []string{webrtc.MimeTypeVP8, webrtc.MimeTypeH264} {
		c, p := publish(t, e, pubID(codec, 1), mediatest.PublisherConfig{Audio: i == 1, Video: true, Codec: codec, Stream: uint32(340 + i)})
		c.Start()
		sender = c
		pubs = append(pubs, p.Publication())
	}
	both, err := mediatest.NewSubscriber(mediatest.SubscriberConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = both.Close() })
	s, offer, err := e.Subscribe(within(t), media.SubscribeRequest{Publications: pubs, Group: "room"})
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"SAVPF 96 97\r\n", "SAVPF 102 103\r\n"} {
		if strings.Count(offer, line) != 1 {
			t.Errorf("not one section with %q:\n%s", line, offer)
		}
	}
	accept(t, both, s, offer)
	r := wait(t, both, media.Video, packets(30))
	clean(t, r)
	for _, r := range both.Reports(media.Video) {
		if len(r.Faults) > 0 || !r.First.Keyframe {
			t.Errorf("%+v", r)
		}
	}
	if n := len(both.Reports(media.Video)); n != 2 {
		t.Errorf("%d tracks of video", n)
	}

	asked := sender.Keyframes()
	old, _ := subscribe(t, e, mediatest.SubscriberConfig{Options: mediatest.Options{OnlyVP8: true}}, false, pubs[1])
	clean(t, wait(t, old, media.Audio, packets(50))) // longer than until a keyframe is asked for again
	if n, m := len(old.Reports(media.Video)), sender.Keyframes()-asked; n+m != 0 {
		t.Errorf("%d tracks of video and %d keyframes for who decodes none of it", n, m)
	}
}

// TestRefusedVideo: who refuses a video hears its voice, however the client writes what
// it refuses.
func TestRefusedVideo(t *testing.T) {
	t.Parallel()
	e := engine(t, media.Config{}, media.Deps{})
	sender, p := publish(t, e, pubID("a", 1), mediatest.PublisherConfig{Audio: true, Video: true, Codec: webrtc.MimeTypeH264, Stream: 350})
	sender.Start()
	const refused = "m=video 0 UDP/TLS/RTP/SAVPF "
	for name, format := range map[string]string{
		"Chromium": "0", "Firefox": "19\r\na=rtpmap:19 reserved/8000", "as offered": "102 103", "no number": "x",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, s, offer := offered(t, e, mediatest.SubscriberConfig{Options: mediatest.Options{OnlyVP8: true}}, requestFor(p))
			answer, err := c.Answer(offer)
			if err != nil {
				t.Fatal(err)
			}
			before, after, ok := strings.Cut(answer, refused+"0\r\n")
			if !ok {
				t.Fatalf("the client does not refuse:\n%s", answer)
			}
			if err := s.Answer(before + refused + format + "\r\n" + after); err != nil {
				t.Fatal(err)
			}
			clean(t, wait(t, c, media.Audio, packets(5)))
			if shed := e.Shed(0); shed.Streams != 0 {
				t.Errorf("what is refused is wanted: %+v", shed)
			}
		})
	}
}
