package udp

import "time"

// Receiver takes the media of a connection as they come in. The packets are of
// one address, one after the other as they came together, and valid during the
// call. Goroutines of several sockets may call at once when a client changes its
// address. Receive must not block: it is on the way of everybody's packets.
type Receiver interface {
	Receive(packets [][]byte)
}

// Divert lets RTP of the connections of a user name go to r instead of to who
// reads them; RTCP and all else stays with these. With nil it ends, though a
// Receive that is under way may still finish. It tells whether there is any.
func (p *Port) Divert(ufrag string, r Receiver) bool {
	m := &p.mux
	m.mu.Lock()
	defer m.mu.Unlock()
	found := false
	for _, v6 := range []bool{false, true} {
		if c := m.byName[name{ufrag, v6}]; c != nil {
			c.receiver = r
			found = true
		}
	}
	return found
}

// isRTP tells it from what shares its port (RFC 7983 7, RFC 5761 4).
func isRTP(b []byte) bool {
	return len(b) >= 12 && b[0]>>6 == 2 && (b[1] < 192 || b[1] > 223)
}

// dispatcher gives the datagrams of one socket to their connections.
type dispatcher struct {
	port  *Port
	to    [readBatch]target
	whole [readBatch][]byte
}

// target is where a datagram goes: to a receiver, to a connection, or nowhere.
type target struct {
	receiver Receiver
	conn     *conn
	strange  bool // a request from an address that is not the connection's
}

// dispatch takes other datagrams for those that are gone.
func (d *dispatcher) dispatch(batch []*datagram) {
	d.port.stats.received.Add(uint64(len(batch)))
	d.port.mux.find(batch, d.to[:])
	for i := 0; i < len(batch); {
		if d.to[i].receiver != nil {
			i += d.hand(batch[i:], d.to[i:])
			continue
		}
		switch c := d.to[i].conn; {
		case c == nil:
			d.port.stats.unknown.Add(1)
		case d.to[i].strange && !c.askers.admit(batch[i].from, time.Now()):
			d.port.stats.addresses.Add(1)
		case !c.put(batch[i]):
			d.port.stats.queue.Add(1)
		default:
			batch[i] = d.port.datagram()
		}
		i++
	}
	clear(d.to[:len(batch)])
}

// hand gives the receiver of the first datagram all that came together with it.
func (d *dispatcher) hand(batch []*datagram, to []target) (n int) {
	for n < len(batch) && to[n].receiver == to[0].receiver && batch[n].from == batch[0].from {
		d.whole[n] = batch[n].buf[:batch[n].n]
		n++
	}
	to[0].receiver.Receive(d.whole[:n])
	return n
}
