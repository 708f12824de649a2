package media

import "time"

const (
	// silentAfter is how long the other side may answer no request before it is
	// sent no media: four of them. Whoever is gone without a word would otherwise
	// be sent everything until the connection ends, and where it was a neighbour
	// that the kernel cannot find, this fills the socket that all others share.
	silentAfter = 4 * iceKeepalive
	// consentFor is how long it may answer none before the connection ends (RFC
	// 7675 5.1).
	consentFor = 30 * time.Second
)

// patience is for how long the other side of a connection may answer no request.
// The library asks every iceKeepalive, but takes whatever comes from the address
// for an answer, of which the sender may be forged: a client that named somebody
// else's address as its own could have media sent there for ever.
type patience struct{ silent, ended time.Duration }

// consent is for how long the other side of a connection has answered nothing.
type consent struct {
	last   answers
	looked time.Time
	lapsed time.Duration
}

// answers are those to requests over the pair of candidates that is in use.
type answers struct {
	pair  string
	count uint64
}

// look is told of the answers that have come, about once a second, and tells how
// long there have been no new ones. While the node itself stood still it has not
// asked, and so this does not count.
func (c *consent) look(a answers, now time.Time) time.Duration {
	if a != c.last || c.looked.IsZero() {
		c.lapsed = 0
	} else {
		c.lapsed += min(now.Sub(c.looked), iceKeepalive)
	}
	c.last, c.looked = a, now
	return c.lapsed
}

// unanswered is for how long the other side has answered no request, as far as it
// was asked here. Connections that are not established have other bounds.
func (c *conn) unanswered(now time.Time) time.Duration {
	pair, ok := c.pc.SCTP().Transport().ICETransport().GetSelectedCandidatePairStats()
	if !ok {
		return 0
	}
	return c.consent.look(answers{pair.LocalCandidateID + pair.RemoteCandidateID, pair.ResponsesReceived}, now)
}

// silent tells whether the other side has answered nothing for so long that it is
// sent nothing. Where it goes on like that the connection ends.
func (s *Subscriber) silent(now time.Time) bool {
	if !s.established.Load() {
		return false
	}
	lapsed := s.unanswered(now)
	if lapsed > s.e.net.patience.ended {
		s.end(ErrConnection)
	}
	return lapsed > s.e.net.patience.silent
}
