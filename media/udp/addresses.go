package udp

import "net"

// GetListenAddresses are those that clients may reach: the one that was
// configured, or those of all interfaces.
func (p *Port) GetListenAddresses() []net.Addr {
	if !p.addr.Addr().IsUnspecified() {
		return []net.Addr{net.UDPAddrFromAddrPort(p.addr)}
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil
	}
	var found []net.Addr
	for _, i := range interfaces {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 {
			continue
		}
		addresses, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addresses {
			if n, ok := a.(*net.IPNet); ok && p.reaches(n.IP) {
				found = append(found, &net.UDPAddr{IP: n.IP, Port: int(p.addr.Port())})
			}
		}
	}
	return found
}

// reaches tells whether an address is of use to others. Site-local ones of IPv6
// are deprecated, and link-local ones tell about the machine (RFC 8445 5.1.1.1).
func (p *Port) reaches(ip net.IP) bool {
	if ip.IsLoopback() || ip.IsUnspecified() {
		return false
	}
	if ip.To4() != nil {
		return true
	}
	siteLocal := ip[0] == 0xfe && ip[1]&0xc0 == 0xc0
	return p.addr.Addr().Is6() && !ip.IsLinkLocalUnicast() && !siteLocal
}
