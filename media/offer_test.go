package media

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	pionsdp "github.com/pion/sdp/v3"
)

func sample(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "offers", name+".sdp"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestOffersOfBrowsers(t *testing.T) {
	one := []LayerInfo{{}}
	for name, video := range map[string][]LayerInfo{
		"chromium-plain": one,
		"chromium-muted": one,
		"chromium-sim":   {{Index: 0}, {Index: 1}, {Index: 2}},
		"chromium-rid":   {{Index: 0, RID: "l"}, {Index: 1, RID: "m"}, {Index: 2, RID: "h"}},
		"firefox-plain":  one,
		"firefox-rid":    {{Index: 0, RID: "l"}, {Index: 1, RID: "m"}, {Index: 2, RID: "h"}},
	} {
		t.Run(name, func(t *testing.T) {
			o, err := parseOffer(sample(t, name), Preference{})
			if err != nil {
				t.Fatal(err)
			}
			want := []TrackInfo{
				{Index: 0, Kind: Audio, Codec: codecOpus(), Layers: one},
				{Index: 1, Kind: Video, Codec: codecVP8(), Layers: video},
			}
			if diff := cmp.Diff(want, o.tracks()); diff != "" {
				t.Error(diff)
			}
			if !o.data() {
				t.Error("no data channel")
			}
			checkAnswer(t, name, publishSample(t, name, 0))
		})
	}
}

// TestLimitOfPublisher: a publisher may have a lower limit than the engine, and no
// higher one.
func TestLimitOfPublisher(t *testing.T) {
	for most, want := range map[int]string{300_000: "b=TIAS:300000", 2_000_000: "b=TIAS:1000001", 0: "b=TIAS:1000001"} {
		if answer := publishSample(t, "chromium-plain", most); !strings.Contains(answer, want+"\r\n") {
			t.Errorf("limit %d: the answer lacks %s:\n%s", most, want, answer)
		}
	}
}

// publishSample lets a real engine answer.
func publishSample(t *testing.T, name string, most int) string {
	t.Helper()
	e := testEngine(t, Config{MaxStreamBitrate: 1_000_001})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, answer, err := e.Publish(ctx, PublishRequest{ID: PubID{Session: "s", Kind: KindVideo}, Offer: sample(t, name), MaxBitrate: func() int { return most }})
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func checkAnswer(t *testing.T, name, answer string) {
	t.Helper()
	var offered, answered pionsdp.SessionDescription
	if err := offered.UnmarshalString(sample(t, name)); err != nil {
		t.Fatal(err)
	}
	if err := answered.UnmarshalString(answer); err != nil {
		t.Fatal(err)
	}
	if len(answered.MediaDescriptions) != len(offered.MediaDescriptions) {
		t.Fatalf("%d sections", len(answered.MediaDescriptions))
	}
	for i, m := range answered.MediaDescriptions {
		want, _ := offered.MediaDescriptions[i].Attribute("mid")
		if mid, _ := m.Attribute("mid"); mid != want || m.MediaName.Media != offered.MediaDescriptions[i].MediaName.Media {
			t.Errorf("section %d: %s %s", i, m.MediaName.Media, mid)
		}
		if setup, _ := m.Attribute("setup"); setup != "passive" {
			t.Errorf("section %d: setup %q", i, setup)
		}
		if n := len(m.MediaName.Formats); m.MediaName.Media == Audio && n != 1 || m.MediaName.Media == Video && n != 2 {
			t.Errorf("section %d: formats %v", i, m.MediaName.Formats)
		}
		if _, ok := m.Attribute("recvonly"); m.MediaName.Media != application && !ok {
			t.Errorf("section %d does not receive", i)
		}
	}
	if group, _ := answered.Attribute("group"); group != "BUNDLE 0 1 2" {
		t.Errorf("group %q", group)
	}
	for _, line := range []string{"b=AS:1001\r\n", "b=TIAS:1000001\r\n", "typ host", "max-message-size:65536"} {
		if !strings.Contains(answer, line) {
			t.Errorf("no %q in the answer", line)
		}
	}
	if strings.HasSuffix(name, "rid") && !strings.Contains(answer, "a=simulcast:recv l;m;h\r\n") {
		t.Error("simulcast is not accepted")
	}
}

func TestOfferIsChecked(t *testing.T) {
	good := sample(t, "firefox-plain")
	for name, change := range map[string]func(string) string{
		"empty":              func(string) string { return "" },
		"text":               func(string) string { return "offer" },
		"no fingerprint":     func(s string) string { return without(s, "a=fingerprint") },
		"sha-1":              func(s string) string { return strings.ReplaceAll(s, "sha-256", "sha-1") },
		"cut fingerprint":    func(s string) string { return strings.ReplaceAll(s, ":19:08", "") },
		"no ufrag":           func(s string) string { return without(s, "a=ice-ufrag") },
		"short password":     func(s string) string { return strings.ReplaceAll(s, "aa1cdb9ca0f2d9a04e9a9e9a6d5ebd46", "aa") },
		"strange ufrag":      func(s string) string { return strings.ReplaceAll(s, "3eb2a14c", "3eb2 a14c") },
		"passive":            func(s string) string { return strings.ReplaceAll(s, "setup:actpass", "setup:passive") },
		"no mid":             func(s string) string { return without(s, "a=mid") },
		"mid twice":          func(s string) string { return strings.ReplaceAll(s, "a=mid:1", "a=mid:0") },
		"our kind of mid":    func(s string) string { return strings.ReplaceAll(s, "a=mid:1", "a=mid:0~1") },
		"too many sections":  func(s string) string { return s + strings.Repeat("m=audio 9 UDP/TLS/RTP/SAVPF 9\r\na=mid:x\r\n", 8) },
		"nothing of use":     func(s string) string { return strings.Split(without(s, "a=rtpmap"), "m=application")[0] },
		"too long":           func(s string) string { return s + "a=x:" + strings.Repeat("x", maxSDP) + "\r\n" },
		"too many lines":     func(s string) string { return s + strings.Repeat("a=x\r\n", maxAttributes) },
		"line feed in token": func(s string) string { return strings.ReplaceAll(s, "a=mid:1", "a=mid:1\x0b") },
	} {
		if _, err := parseOffer(change(good), Preference{}); !errors.Is(err, ErrBadOffer) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLongParameters: what nobody writes is not looked at again and again.
func TestLongParameters(t *testing.T) {
	for length, want := range map[int]string{maxFmtp: "h264", maxFmtp + 1: "vp8"} {
		fmtp := "profile-level-id=42e01f;packetization-mode=1;x="
		fmtp += strings.Repeat("x", length-len(fmtp))
		const have = "a=fmtp:126 profile-level-id=42e01f;level-asymmetry-allowed=1;packetization-mode=1\r\n"
		text := strings.Replace(sample(t, "firefox-plain"), have, "a=fmtp:126 "+fmtp+"\r\n", 1)
		o, err := parseOffer(text, Preference{Video: []string{"h264"}})
		if err != nil {
			t.Fatal(err)
		}
		s := o.sections[1]
		if s.format.name != want || s.format.name == "h264" && s.fmtp != fmtp {
			t.Errorf("%d bytes: %s with %q", length, s.format.name, s.fmtp)
		}
	}
}

// without drops lines.
func without(s, prefix string) string {
	var out []string
	for _, line := range strings.Split(s, "\r\n") {
		if !strings.HasPrefix(line, prefix) {
			out = append(out, line)
		}
	}
	return strings.Join(out, "\r\n")
}

func TestRefusedSectionsStayInPlace(t *testing.T) {
	text := strings.ReplaceAll(sample(t, "firefox-plain"), "VP8", "AV1")
	o, err := parseOffer(text, Preference{})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(o.tracks()); n != 1 {
		t.Fatalf("%d tracks", n)
	}
	own := "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 2\r\n" +
		"m=audio 9 UDP/TLS/RTP/SAVPF 109\r\na=mid:0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:2\r\n"
	answer, err := o.answer(own, 0)
	if err != nil {
		t.Fatal(err)
	}
	at := strings.Index(answer, "m=video 0 UDP/TLS/RTP/SAVPF 120\r\n")
	if at < strings.Index(answer, "m=audio") || at > strings.Index(answer, "m=application") {
		t.Errorf("refused video is at %d:\n%s", at, answer)
	}
	if !strings.Contains(answer, "a=group:BUNDLE 0 2\r\n") {
		t.Error("refused section is bundled")
	}
}

func TestAnswerOfBrowser(t *testing.T) {
	clean, candidates, err := cleanAnswer(sample(t, "chromium-answer"), sample(t, "own-offer"))
	if err != nil {
		t.Fatal(err)
	}
	// The sample's others are of TCP.
	if len(candidates) != 2 || strings.Contains(clean, "a=candidate") {
		t.Errorf("candidates %q", candidates)
	}
	for _, line := range []string{"a=setup:active\r\n", "a=recvonly\r\n", "a=rtpmap:96 VP8/90000\r\n", "a=fmtp:97 apt=96\r\n"} {
		if !strings.Contains(clean, line) {
			t.Errorf("no %q in\n%s", line, clean)
		}
	}
	if _, _, err := cleanAnswer(refuse(sample(t, "chromium-answer"), "m=video"), sample(t, "own-offer")); err != nil {
		t.Errorf("refused video: %v", err)
	}
	nameless := strings.Replace(refuse(sample(t, "chromium-answer"), "m=video"), "a=mid:1\r\n", "", 1)
	if _, _, err := cleanAnswer(nameless, sample(t, "own-offer")); err != nil {
		t.Errorf("refused video without a name: %v", err)
	}
	for name, change := range map[string]func(string) string{
		"other mid":          func(s string) string { return strings.ReplaceAll(s, "a=mid:1", "a=mid:7") },
		"section missing":    func(s string) string { return strings.Split(s, "m=application")[0] },
		"everything refused": func(s string) string { return refuse(s, "m=") },
		"offer":              func(string) string { return sample(t, "chromium-plain") },
		"undecided":          func(s string) string { return strings.ReplaceAll(s, "setup:active", "setup:actpass") },
	} {
		if _, _, err := cleanAnswer(change(sample(t, "chromium-answer")), sample(t, "own-offer")); !errors.Is(err, ErrBadAnswer) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestAnswerHasOfferedCodec: only what was offered is taken, in the words of the
// offer, as the library compares.
func TestAnswerHasOfferedCodec(t *testing.T) {
	h264 := func(s, fmtp string) string {
		return strings.ReplaceAll(s, "a=rtpmap:96 VP8/90000\r\n", "a=rtpmap:96 H264/90000\r\na=fmtp:96 "+fmtp+"\r\n")
	}
	const offered = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"
	for name, c := range map[string]struct{ offer, answer, want string }{
		"VP8":                         {sample(t, "own-offer"), sample(t, "chromium-answer"), "a=rtpmap:96 VP8/90000\r\n"},
		"H.264":                       {h264(sample(t, "own-offer"), offered), h264(sample(t, "chromium-answer"), offered), "a=fmtp:96 " + offered + "\r\n"},
		"H.264 in other words":        {h264(sample(t, "own-offer"), offered), h264(sample(t, "chromium-answer"), "profile-level-id=42C00D;packetization-mode=1"), "a=fmtp:96 " + offered + "\r\n"},
		"H.264 of another profile":    {h264(sample(t, "own-offer"), offered), h264(sample(t, "chromium-answer"), "profile-level-id=4d001f;packetization-mode=1"), "m=video 0 "},
		"H.264 of another packetiser": {h264(sample(t, "own-offer"), offered), h264(sample(t, "chromium-answer"), "profile-level-id=42e01f"), "m=video 0 "},
		"VP8 for H.264":               {h264(sample(t, "own-offer"), offered), sample(t, "chromium-answer"), "m=video 0 "},
		"H.264 for VP8":               {sample(t, "own-offer"), h264(sample(t, "chromium-answer"), offered), "m=video 0 "},
	} {
		clean, _, err := cleanAnswer(c.answer, c.offer)
		if err != nil || !strings.Contains(clean, c.want) {
			t.Errorf("%s: no %q in\n%s%v", name, c.want, clean, err)
		}
	}
}

func TestCandidateUsable(t *testing.T) {
	for value, want := range map[string]bool{
		"candidate:1 1 udp 2122194687 192.0.2.2 36929 typ host generation 0 network-id 1": true,
		"1 1 udp 2122194687 fd00::2 36929 typ host":                                       true,
		"candidate:1 1 tcp 1518214911 192.0.2.2 9 typ host tcptype active":                false,
		"candidate:1 1 tcp 1518214911 192.0.2.2 5000 typ host tcptype passive":            false,
		"candidate:0 1 UDP 2122252543 f3c8a6a2.local 49999 typ host":                      false,
		"candidate:1 1 udp 1 0.0.0.0 1 typ host":                                          false,
		"candidate:1 1 udp 1 224.0.0.1 1 typ host":                                        false,
		"candidate:1 1 udp 1 fe80::1%eth0 1 typ host":                                     false,
		"candidate:1 1 udp 1 fe80::1 1 typ host":                                          false,
		"candidate:1 1 udp 1 169.254.169.254 80 typ host":                                 false,
		"candidate:1 1 udp 1 ::ffff:169.254.169.254 80 typ host":                          false,
		"candidate:1 1 udp 1 ::ffff:0.0.0.0 80 typ host":                                  false,
		"candidate:1 1 udp 1 255.255.255.255 80 typ srflx raddr 192.0.2.2 rport 1":        false,
		"candidate:1 1 udp 1 ff02::1 1 typ host":                                          false,
		"candidate:1 1 udp 1 192.0.2.2 99999 typ host":                                    false,
		"candidate:1 1 udp 1 192.0.2.2 1 typ host\r\na=ice-lite":                          false,
		"candidate:": false,
		"candidate:1 1 udp 1 192.0.2.2 1 typ " + strings.Repeat("x", maxCandidate): false,
	} {
		if got := candidateUsable(value); got != want {
			t.Errorf("%q: %v", value, got)
		}
	}
}

// refuse sets ports to 0.
func refuse(s, prefix string) string {
	lines := strings.Split(s, "\r\n")
	for i, line := range lines {
		if f := strings.Fields(line); strings.HasPrefix(line, prefix) {
			f[1] = "0"
			lines[i] = strings.Join(f, " ")
		}
	}
	return strings.Join(lines, "\r\n")
}

func TestCandidateNetworks(t *testing.T) {
	n := candidateNetworks{
		blocked: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")},
		allowed: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")},
	}
	for addr, want := range map[string]bool{
		"192.0.2.1": true, "10.2.0.1": false, "10.1.0.1": true, "::ffff:10.2.0.1": false, "::ffff:10.1.0.1": true,
		"fd00::1": false, "2001:db8::1": true, "x.local": false,
	} {
		for _, prefix := range []string{"", "candidate:"} {
			if got := n.takes(prefix + "1 1 udp 1 " + addr + " 1000 typ host"); got != want {
				t.Errorf("%s: %v", addr, got)
			}
		}
	}
	if !(candidateNetworks{allowed: n.allowed}).takes("1 1 udp 1 10.2.0.1 1000 typ host") {
		t.Error("nothing is blocked, but a candidate is not taken")
	}
}
