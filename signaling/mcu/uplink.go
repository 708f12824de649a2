package mcu

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/signaling/wire"
)

// uplink is what the client publishes of one kind: at most one connection.
type uplink struct {
	d    *Desk
	kind string
	box

	published *media.Publication // guarded by mu of the desk; set by the worker

	// The rest is the worker's.
	now        *connection
	generation uint32
	early      earlyCandidates
}

func (u *uplink) idleLocked() {}

func (u *uplink) handle(ctx context.Context, r request) {
	switch r.what {
	case offer:
		began := time.Now()
		err := u.publish(ctx, r.m)
		u.d.stats.negotiated(sidePublish, err, time.Since(began))
		r.done(err)
	case candidate:
		r.done(u.candidate(r.m))
	case unshare:
		// Of a connection that is gone it comes late: another one may be there by now.
		if u.now != nil && u.now.sid == r.m.SID {
			u.end()
		}
		r.done(nil)
	case local:
		if r.c == u.now {
			u.d.sayCandidate(u.d.cfg.Session, u.kind, r.c.sid, r.cand)
		}
	case failed:
		if r.c == u.now {
			u.d.log.Info("publisher closed", keyPublication, r.c.pub.ID.String(), keyError, r.err)
			u.end()
		}
	case end:
		u.early.forget()
		u.end()
	}
}

// publish makes a connection of the client's offer. It takes the place of an
// earlier one, which stays if the offer is refused.
func (u *uplink) publish(ctx context.Context, m *wire.MediaMessage) error {
	d := u.d
	next := &connection{sid: m.SID}
	onCandidate, onClose := d.callbacks(&u.box, u, next)
	u.generation++
	work, cancel := context.WithTimeout(ctx, workWait)
	defer cancel()
	p, answer, err := d.engine.Publish(work, media.PublishRequest{
		ID: media.PubID{
			Session: d.cfg.Session, Incarnation: d.cfg.Incarnation, Kind: u.kind, Generation: u.generation,
		},
		Group:       d.groupNow(),
		MaxBitrate:  func() int { return d.cfg.MaxBitrate(u.kind) },
		Bitrate:     m.Bitrate,
		Offer:       m.Payload.SDP,
		Prefer:      preferred(m),
		OnCandidate: onCandidate,
		OnClose:     onClose,
	})
	early := u.early.take(m.SID)
	if err != nil {
		return fmt.Errorf("publishing: %w", err)
	}
	if ctx.Err() != nil {
		d.close(p, next)
		return context.Cause(ctx)
	}
	next.publisher, next.pub = p, p.Publication()
	for _, c := range early {
		if err := p.AddCandidate(c); err != nil {
			d.log.Debug("early candidate refused", keyPublication, next.pub.ID.String(), keyError, err)
		}
	}
	old := u.now
	u.now = next
	u.setPublished(&next.pub)
	d.say(d.cfg.Session, u.kind, wire.MediaAnswer, m.SID, wire.MediaPayload{Type: string(wire.MediaAnswer), SDP: answer})
	// The new one first, so that who listens is bound to it without a gap.
	d.host.Announce(next.pub)
	if old != nil {
		d.host.Withdraw(old.pub.ID)
		d.close(old.publisher, old)
	}
	return nil
}

// preferred are the codecs that an offer wishes for.
func preferred(m *wire.MediaMessage) media.Preference {
	return media.Preference{
		Audio: list(m.AudioCodec), Video: list(m.VideoCodec),
		VP9Profile: m.VP9Profile, H264Profile: m.H264Profile,
	}
}

// list takes apart what has commas between.
func list(names string) (all []string) {
	for name := range strings.SplitSeq(names, ",") {
		if name = strings.TrimSpace(name); name != "" {
			all = append(all, name)
		}
	}
	return all
}

func (u *uplink) candidate(m *wire.MediaMessage) error {
	c := mediaCandidate(m.Payload.Candidate)
	if u.now != nil && (m.SID == u.now.sid || m.SID == "") {
		return u.now.publisher.AddCandidate(c)
	}
	// It belongs to a connection that is gone, or to one whose offer comes yet.
	if m.SID != "" && u.early.put(m.SID, c, u.d.cfg.Queue) {
		return nil
	}
	return fmt.Errorf("%w: nothing is published under this sid", wire.ErrClientNotFound)
}

// end withdraws and closes what is published.
func (u *uplink) end() {
	old := u.now
	if old == nil {
		return
	}
	u.now = nil
	u.setPublished(nil)
	u.d.host.Withdraw(old.pub.ID)
	u.d.close(old.publisher, old)
}

func (u *uplink) setPublished(pub *media.Publication) {
	u.d.mu.Lock()
	defer u.d.mu.Unlock()
	u.published = pub
}

// earlyCandidates keeps those of a sid that has not been offered yet.
type earlyCandidates struct {
	sid  string
	list []media.Candidate
	seen []string // sids of the last offers
}

// maxSeen is how many sids are remembered to tell late candidates from early
// ones.
const maxSeen = 8

// put is false if the candidate cannot belong to an offer to come, or if there
// are too many.
func (e *earlyCandidates) put(sid string, c media.Candidate, bound int) bool {
	if slices.Contains(e.seen, sid) {
		return false
	}
	if sid != e.sid {
		e.sid, e.list = sid, nil
	}
	if len(e.list) >= bound {
		return false
	}
	e.list = append(e.list, c)
	return true
}

// take returns what has come early for this sid, forgets all others, and
// remembers the sid.
func (e *earlyCandidates) take(sid string) []media.Candidate {
	var list []media.Candidate
	if sid == e.sid {
		list = e.list
	}
	e.forget()
	if sid != "" {
		if len(e.seen) == maxSeen {
			e.seen = slices.Delete(e.seen, 0, 1)
		}
		e.seen = append(e.seen, sid)
	}
	return list
}

func (e *earlyCandidates) forget() { e.sid, e.list = "", nil }
