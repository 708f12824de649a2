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

// consent is when the other side of a connection has answered last.
type consent struct {
	last     answers
	answered time.Time
}

// answers are those to requests over the pair of candidates that is in use.
type answers struct {
	pair  string
	count uint64
}

// lapsed is how long ago the last answer was found to have come.
func (c *consent) lapsed(a answers, now time.Time) time.Duration {
	if a != c.last || c.answered.IsZero() {
		c.last, c.answered = a, now
	}
	return now.Sub(c.answered)
}

// unanswered is for how long the other side has answered no request, as far as it
// was asked here. Connections that are not established have other bounds.
func (c *conn) unanswered(now time.Time) time.Duration {
	pair, ok := c.pc.SCTP().Transport().ICETransport().GetSelectedCandidatePairStats()
	if !ok {
		return 0
	}
	return c.consent.lapsed(answers{pair.LocalCandidateID + pair.RemoteCandidateID, pair.ResponsesReceived}, now)
}

// agree sends media as long as the other side answers.
func (s *Subscriber) agree(now time.Time) {
	if !s.established.Load() {
		return
	}
	lapsed := s.unanswered(now)
	if lapsed > s.e.net.patience.ended {
		s.end(ErrConnection)
	}
	silent := lapsed > s.e.net.patience.silent
	for _, sub := range s.subs {
		for _, d := range sub.tracks {
			d.hush(silent)
		}
	}
}

// hush sends nothing to who does not answer. What comes then is as after a pause.
func (d *downTrack) hush(silent bool) {
	d.mu.Lock()
	same := d.silent == silent
	d.mu.Unlock()
	if !same {
		d.change(func() { d.silent = silent })
	}
}
