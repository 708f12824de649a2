package rpc

import (
	"net"
	"net/netip"
	"sync"
)

// quota bounds what strangers hold at the same time: all of them together, and
// those of one address, so that one stranger does not use up everybody's share.
type quota struct {
	all, perIP int

	mu   sync.Mutex // guards what follows
	held int
	by   map[netip.Addr]int
}

func newQuota(all, perIP int) *quota {
	return &quota{all: all, perIP: perIP, by: make(map[netip.Addr]int)}
}

// take gives one place, which leave gives back.
func (q *quota) take(ip netip.Addr) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.held >= q.all || q.by[ip] >= q.perIP {
		return false
	}
	q.held++
	q.by[ip]++
	return true
}

func (q *quota) leave(ip netip.Addr) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.held--
	if q.by[ip]--; q.by[ip] <= 0 {
		delete(q.by, ip)
	}
}

// remoteIP is whose share a connection counts against. With IPv6 that is the
// network of 64 bits, in which one stranger has all addresses.
func remoteIP(c net.Conn) netip.Addr {
	a, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	ip := a.AddrPort().Addr().Unmap().WithZone("")
	if ip.Is6() {
		p, _ := ip.Prefix(64) // of 128 bits: never fails
		return p.Addr()
	}
	return ip
}
