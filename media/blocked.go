package media

import (
	"net/netip"
	"slices"
	"strings"
)

// candidateNetworks are those of which addresses that clients name are not used, and
// those within them that are used all the same. This node asks an address that is
// named (RFC 8445 7.2.5), and so would ask what only it can reach, or what leads
// nowhere. Who comes from a blocked network by himself has named nobody, and is
// answered.
type candidateNetworks struct{ blocked, allowed []netip.Prefix }

// takes tells whether a candidate that is usable otherwise is used.
func (n candidateNetworks) takes(candidate string) bool {
	if len(n.blocked) == 0 {
		return true
	}
	f := strings.Fields(strings.TrimPrefix(candidate, "candidate:"))
	if len(f) < 5 {
		return false
	}
	addr, err := netip.ParseAddr(f[4])
	if err != nil {
		return false
	}
	within := func(p netip.Prefix) bool { return p.Contains(addr.Unmap()) }
	return slices.ContainsFunc(n.allowed, within) || !slices.ContainsFunc(n.blocked, within)
}
