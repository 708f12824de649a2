package media

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	pionice "github.com/pion/ice/v4"
)

// parseGroup reads the value of ssrc-group (RFC 5576 4.2); a bad one has no kind.
func parseGroup(value string) (kind string, members []uint32) {
	f := strings.Fields(value)
	if len(f) < 2 || len(f) > 8 {
		return "", nil
	}
	for _, v := range f[1:] {
		n, err := strconv.ParseUint(v, 10, 32)
		if err != nil || n == 0 || slices.Contains(members, uint32(n)) {
			return "", nil
		}
		members = append(members, uint32(n))
	}
	return f[0], members
}

// feedbackNACK is the feedback by which lost packets are asked for (RFC 4585 4.2).
const feedbackNACK = "nack"

func knownFeedback(v string) bool {
	switch v {
	case feedbackNACK, "nack pli", "ccm fir", "goog-remb", "transport-cc":
		return true
	}
	return false
}

// token is a name without the characters that would end it (RFC 8866 9).
func token(s string) bool {
	if s == "" || len(s) > maxToken {
		return false
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]`, c) >= 0 {
			return false
		}
	}
	return true
}

func printable(s string) bool {
	for _, c := range []byte(s) {
		if c < ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}

// iceChars checks ufrag and password (RFC 8839 5.4).
func iceChars(s string, least int) bool {
	if len(s) < least || len(s) > 256 {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case c == '+', c == '/', c == '-', c == '_', c == '=': // the last three are of lax clients
		default:
			return false
		}
	}
	return true
}

// fingerprint checks a certificate's hash (RFC 8122 5). SHA-1 and older ones are
// not accepted.
func fingerprint(s string) bool {
	algorithm, hash, _ := strings.Cut(s, " ")
	size := map[string]int{"sha-256": 32, "sha-384": 48, "sha-512": 64}[strings.ToLower(algorithm)]
	if size == 0 || len(hash) != 3*size-1 {
		return false
	}
	for i, c := range []byte(hash) {
		digit := c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
		if colon := i%3 == 2; colon && c != ':' || !colon && !digit {
			return false
		}
	}
	return true
}

// candidateUsable tells whether a candidate is well formed and has an address to
// which a check may go: this node sends to addresses of a stranger's choice.
// Names of multicast DNS are not looked up: such a peer is found by its checks.
// TCP connections are opened by the other side only.
func candidateUsable(value string) bool {
	if len(value) > maxCandidate || !printable(value) {
		return false
	}
	f := strings.Fields(strings.TrimPrefix(value, "candidate:"))
	if len(f) < 8 {
		return false
	}
	addr, err := netip.ParseAddr(f[4])
	if err != nil || addr.Zone() != "" || !addressUsable(addr.Unmap()) {
		return false
	}
	c, err := pionice.UnmarshalCandidate(value)
	return err == nil && c.Port() > 0 && c.NetworkType().IsUDP()
}

// addressUsable refuses what no client on another machine has. Loopback is for
// the network's filter, as engines of tests live there.
func addressUsable(a netip.Addr) bool {
	return !a.IsUnspecified() && !a.IsMulticast() && !a.IsLinkLocalUnicast() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}
