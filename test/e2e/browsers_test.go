package e2e

import (
	"fmt"
	"testing"
	"time"
)

// simulcast has the page publish video in three sizes, as Nextcloud's client
// does.
const simulcast = `
  const add = RTCPeerConnection.prototype.addTransceiver;
  RTCPeerConnection.prototype.addTransceiver = function (track, init) {
    if (track.kind === 'video') {
      init = {...init, sendEncodings: [
        {rid: 'h', maxBitrate: 900000},
        {rid: 'm', maxBitrate: 300000, scaleResolutionDownBy: 2},
        {rid: 'l', maxBitrate: 100000, scaleResolutionDownBy: 4},
      ]};
    }
    return add.call(this, track, init);
  };`

// protection reads what the connections of a page have agreed on.
const protection = `(async () => {
  const out = [];
  for (const pc of window.testConnections) {
    for (const s of (await pc.getStats()).values()) {
      if (s.type === 'transport' && pc.connectionState === 'connected') {
        out.push({version: s.tlsVersion, dtls: s.dtlsCipher, srtp: s.srtpCipher});
      }
    }
  }
  return out;
})()`

// protected is that of one connection. FEFD is DTLS 1.2.
type protected struct{ Version, DTLS, SRTP string }

// TestCodecsOfChromium: two wish for other codecs than VP8, at two nodes, and see and
// hear each other.
func TestCodecsOfChromium(t *testing.T) {
	b := browser(t)
	c := startCluster(t, 2)
	token := c.conversation(c.nodes[0], "Two codecs")
	page := func(i int, codec string) string {
		return c.nodes[i].HTTP + "/call/" + token + "?redirect=0&videocodec=" + codec
	}
	ada := joinAsGuest(t, b, "Ada", page(0, "vp9"))
	ben := joinAsGuest(t, b, "Ben", page(1, "h265,h264"))
	for p, want := range map[*person]string{ada: "video/H264", ben: "video/VP9"} {
		awaitStreams(t, p, 1)
		for _, s := range receiving(p, "video") {
			if s.Codec != want {
				t.Errorf("%s gets %s, want %s", p, s.Codec, want)
			}
		}
	}
}

// TestFirefoxAndChromium: they see and hear each other, at two nodes. Media are
// protected by AES-256-GCM with both, and each size of Firefox's simulcast can be
// chosen. Both stay within their limits, of which nothing is left out.
func TestFirefoxAndChromium(t *testing.T) {
	b := browser(t)
	c := startCluster(t, 2)
	token := c.conversation(c.nodes[0], "Two browsers")
	page := func(i int) string { return c.nodes[i].HTTP + "/call/" + token + "?redirect=0" }
	ben := openFox(t, "Ben", page(1), collect, simulcast)
	ben.joinAsGuest()
	ada := joinAsGuest(t, b, "Ada", page(0))
	awaitStreams(t, ada, 1)
	awaitStreams(t, ben, 1)

	var foxes []protected
	ben.eval(protection, &foxes)
	for i, all := range [][]protected{eval[[]protected](ada, protection), foxes} {
		name := []string{"Chromium", "Firefox"}[i]
		if len(all) != 2 {
			t.Errorf("%s has %d connections, want 2", name, len(all))
		}
		for _, p := range all {
			t.Logf("%s: %+v", name, p)
			if p.SRTP != "SRTP_AEAD_AES_256_GCM" {
				t.Errorf("%s: cipher %q, want SRTP_AEAD_AES_256_GCM", name, p.SRTP)
			}
		}
		if n := c.metric(c.nodes[i], `talkd_media_handshakes_total{profile="aes-256-gcm"}`); n != "2" {
			t.Errorf("%s's node has protected %q connections by AES-256-GCM, want 2", name, n)
		}
		if n := c.metric(c.nodes[i], `talkd_media_sealed_connections_total{path="direct"}`); n != "1" {
			t.Errorf("%s's node seals the packets of %q connections, want 1", name, n)
		}
	}

	var seen string
	ben.eval(fmt.Sprintf(`document.querySelector(%q)?.getAttribute('data-audio')`, tile("Ada")), &seen)
	if heard := ada.attribute(tile("Ben"), "data-audio"); seen != "on" || heard != "on" {
		t.Errorf("microphones are shown as %q and %q, want on", seen, heard)
	}
	publisher := ada.attribute(tile("Ben"), "data-session")
	for layer, width := range []int{160, 320, 640} {
		eval[any](ada, fmt.Sprintf(`window.testSocket.send(JSON.stringify({type: 'message', message: {
		  recipient: {type: 'session', sessionid: %q},
		  data: {type: 'selectStream', roomType: 'video', payload: {substream: %d}},
		}}))`, publisher, layer))
		eventually(t, 15*time.Second, fmt.Sprintf("Ada gets layer %d", layer), func() (bool, string) {
			got := 0
			for _, s := range receiving(ada, "video") {
				got = s.Width
			}
			return got == width, fmt.Sprintf("%d px wide, want %d", got, width)
		})
	}
	for i, name := range []string{"Chromium", "Firefox"} {
		for _, kind := range []string{"audio", "video"} {
			if n := c.metric(c.nodes[i], fmt.Sprintf(`talkd_media_policed_packets_total{kind=%q}`, kind)); n != "0" {
				t.Errorf("%s, which stays within its limit: %q packets of %s are not forwarded", name, n, kind)
			}
		}
	}
}
