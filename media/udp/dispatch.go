package udp

// Receiver takes the media of a connection as they come in: RTP and RTCP. The
// packets are of one address, one after the other as they came together, and
// valid during the call. Goroutines of several sockets may call at once when a
// client changes its address. Receive must not block: it is on the way of
// everybody's packets.
type Receiver interface {
	Receive(packets [][]byte)
}

// Divert lets the media of the connections of a user name go to r instead of to
// who reads them; all else stays with these. With nil it ends, though a Receive
// that is under way may still finish. It tells whether there is any.
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

// IsMedia tells RTP and RTCP from what shares their port (RFC 7983 7).
func IsMedia(b []byte) bool { return len(b) > 0 && b[0]>>6 == 2 }

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
	gone     bool // has gone there
}

// dispatch takes other datagrams for those that are gone.
func (d *dispatcher) dispatch(batch []*datagram) {
	d.port.stats.received.Add(uint64(len(batch)))
	d.port.mux.find(batch, d.to[:])
	for i := range batch {
		switch to := &d.to[i]; {
		case to.gone:
		case to.receiver != nil:
			d.hand(batch[i:], d.to[i:])
		case to.conn == nil:
			d.port.stats.unknown.Add(1)
		case to.strange && !to.conn.admits(batch[i].from):
			d.port.stats.addresses.Add(1)
		default:
			if b := batch[i].buf[:batch[i].n]; isRequest(b) || isSuccess(b) {
				to.conn.asks.earn(batch[i].from, len(b))
			}
			if !to.conn.put(batch[i]) {
				d.port.stats.queue.Add(1)
				break
			}
			batch[i] = d.port.datagram()
		}
	}
	clear(d.to[:len(batch)])
}

// hand gives the receiver of the first datagram all that came together with it,
// though those of others may have come in between.
func (d *dispatcher) hand(batch []*datagram, to []target) {
	r, from := to[0].receiver, batch[0].from
	n := 0
	for i := range batch {
		if to[i].receiver == r && batch[i].from == from {
			to[i].gone = true
			d.whole[n] = batch[i].buf[:batch[i].n]
			n++
		}
	}
	r.Receive(d.whole[:n])
}
