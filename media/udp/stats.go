package udp

import "sync/atomic"

// buckets are the powers of two up to maxSegments: a message of n datagrams is
// counted in the first that is not below n.
const buckets = 7

// tally is what one Burst counts until it is flushed.
type tally struct {
	segments  [buckets]uint64
	datagrams uint64
	bytes     uint64
	full      uint64
	refused   uint64
}

func (t *tally) messages() (n uint64) {
	for _, s := range t.segments {
		n += s
	}
	return n
}

// stats are the figures of Sockets and of the Port on them.
type stats struct {
	segments   [buckets]atomic.Uint64 // messages by how many datagrams they held
	datagrams  atomic.Uint64          // in these
	bytes      atomic.Uint64          // of these
	single     atomic.Uint64          // datagrams that went out at once
	received   atomic.Uint64
	full       atomic.Uint64 // lost: the kernel had no room
	refused    atomic.Uint64 // lost: the kernel took them not, though it had room
	queue      atomic.Uint64 // lost: a connection did not read
	unknown    atomic.Uint64 // lost: of no connection
	addresses  atomic.Uint64 // lost: requests from more addresses than a client has
	unanswered atomic.Uint64 // not sent: requests to addresses that do not answer
	refusals   atomic.Uint64 // messages that were sent apart
}

// NoRoom is how many datagrams were lost since the kernel had no room for them.
func (p *Port) NoRoom() uint64 { return p.stats.full.Load() }

func (s *stats) add(t *tally) {
	for i, n := range t.segments {
		if n > 0 {
			s.segments[i].Add(n)
		}
	}
	s.datagrams.Add(t.datagrams)
	s.bytes.Add(t.bytes)
	if t.full > 0 {
		s.full.Add(t.full)
	}
	if t.refused > 0 {
		s.refused.Add(t.refused)
	}
}
