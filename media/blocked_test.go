package media_test

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/media/mediatest"
)

// TestBlockedCandidates: addresses of networks that are blocked are not asked, whether
// they are in the description or come later; those that are allowed all the same are,
// and a client that comes from a blocked address by itself is served.
func TestBlockedCandidates(t *testing.T) {
	t.Parallel()
	loopback, allowed := netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("127.0.3.0/24")
	e := engine(t, media.Config{
		BlockedCandidates: []netip.Prefix{loopback}, AllowedCandidates: []netip.Prefix{allowed},
	}, media.Deps{})
	var blocked, asked []net.PacketConn
	open := func(list *[]net.PacketConn, ip string) string {
		t.Helper()
		c, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", ip+":0")
		if err != nil {
			t.Skipf("this machine does not have %s as its own: %v", ip, err)
		}
		t.Cleanup(func() { _ = c.Close() })
		*list = append(*list, c)
		return fmt.Sprintf("candidate:1 1 udp 1 %s %d typ host", ip, c.LocalAddr().(*net.UDPAddr).Port)
	}
	described := "a=" + open(&blocked, "127.0.2.1") + "\r\na=" + open(&asked, "127.0.3.1") + "\r\n"
	late := []string{open(&blocked, "127.0.2.2"), open(&asked, "127.0.3.2")}

	_, p := publish(t, e, pubID("a", 1), mediatest.PublisherConfig{Audio: true, Stream: 46})
	c, s, offer := offered(t, e, mediatest.SubscriberConfig{}, requestFor(p))
	answer, err := c.Answer(offer)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close() // else it may be connected before any other address is asked
	at := strings.Index(answer, "a=candidate:")
	if err := s.Answer(answer[:at] + described + answer[at:]); err != nil {
		t.Fatal(err)
	}
	for _, candidate := range late {
		if err := s.AddCandidate(media.Candidate{Candidate: candidate}); err != nil {
			t.Fatal(err)
		}
	}
	buf := make([]byte, 1500)
	for _, a := range asked {
		_ = a.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, _, err := a.ReadFrom(buf); err != nil {
			t.Errorf("%v is not asked", a.LocalAddr())
		}
	}
	for _, b := range blocked { // would have been asked at the same time
		_ = b.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if _, _, err := b.ReadFrom(buf); err == nil {
			t.Errorf("%v is asked", b.LocalAddr())
		}
	}

	subscribe(t, e, mediatest.SubscriberConfig{}, false, p.Publication()) // comes by itself
}
