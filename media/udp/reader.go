package udp

// maxMessage is what one message may hold, of however many datagrams: an IP
// packet.
const maxMessage = 64 << 10

// Readers take in what comes to the sockets, one each. They are made once, and
// not for a Port, which reads itself.
func (s *Sockets) Readers() []*Reader {
	var all []*Reader
	for _, one := range s.sockets {
		all = append(all, newGroupReader(one))
	}
	return all
}
