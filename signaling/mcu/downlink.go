package mcu

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/signaling/wire"
)

// downlink is what the client receives of one publisher and kind: at most one
// connection, or a request that waits for the publication.
type downlink struct {
	d   *Desk
	key downlinkKey
	box

	live bool // guarded by mu of the desk; set by the worker

	// The rest is the worker's.
	now   *connection
	asked time.Time // when the last request for an offer came
}

func (l *downlink) idleLocked() {
	if l.now == nil && l.d.downlinks[l.key] == l {
		delete(l.d.downlinks, l.key)
	}
}

func (l *downlink) handle(ctx context.Context, r request) {
	switch r.what {
	case ask:
		r.done(l.ask(ctx, r))
	case answer:
		r.done(l.answer(r.m))
	case candidate:
		r.done(l.candidate(r.m))
	case choose:
		r.done(l.choose(r.m))
	case local:
		if r.c == l.now {
			l.d.sayCandidate(l.key.publisher, l.key.kind, r.c.sid, r.cand)
		}
	case failed:
		if r.c == l.now {
			l.d.log.Debug("subscriber closed", keyPublication, r.c.pub.ID.String(), keyError, r.err)
			l.drop() // the client asks again
		}
	case restrained:
		if r.c == l.now {
			l.d.host.Shed(wire.Shed{SessionID: l.key.publisher, RoomType: l.key.kind, SID: r.c.sid, State: shedStates[r.left]})
		}
	case expired:
		if r.c == l.now && !r.c.deadline.IsZero() && !time.Now().Before(r.c.deadline) {
			l.d.log.Debug("subscriber given up", keyPublication, r.c.pub.ID.String(), "answered", r.c.answered)
			l.drop()
		}
	case announced:
		l.renew(ctx, r.pub)
	case withdrawn:
		l.withdrawn(r.id)
	case end:
		l.drop()
	}
}

// ask makes an offer: for the connection the client names if that is the
// current one, else for a new one.
func (l *downlink) ask(ctx context.Context, r request) error {
	if r.renegotiates() && l.now != nil {
		if !l.now.answered {
			return nil // a newer offer is on its way
		}
		if r.m.SID == l.now.sid {
			began := time.Now()
			err := l.update(ctx)
			l.d.stats.negotiated(sideUpdate, err, time.Since(began))
			if !errors.Is(err, media.ErrClosed) {
				return err
			}
		}
	}
	began := time.Now()
	if !r.again {
		l.asked = began
	}
	err := l.connect(ctx, l.asked.Add(l.d.cfg.OfferWait))
	l.d.stats.negotiated(sideSubscribe, err, time.Since(began))
	if err != nil && r.reply == nil && !r.again && refusal(err) != nil {
		// A sharer's request: nobody is told, and a screen is not asked for again.
		l.d.log.Info("no offer was made", "publisher", prefix(l.key), keyError, err)
	}
	return err
}

// update offers the current connection again.
func (l *downlink) update(ctx context.Context) error {
	work, cancel := context.WithTimeout(ctx, workWait)
	defer cancel()
	sdp, err := l.now.subscriber.Offer(work)
	if err != nil {
		return fmt.Errorf("offering again: %w", err)
	}
	l.say(l.now.sid, sdp)
	return nil
}

// connect makes a new connection as soon as there is something to receive. It
// takes the place of the current one.
func (l *downlink) connect(ctx context.Context, until time.Time) error {
	wait, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	for pause := retryFirst; ; pause = min(2*pause, retryMost) {
		pub, err := l.d.dir.Await(wait, l.key.publisher, l.key.kind)
		if err != nil {
			return fmt.Errorf("waiting for the publication: %w", causeOf(ctx, err))
		}
		err = l.subscribe(ctx, pub)
		if err == nil || final(err) || ctx.Err() != nil {
			return causeOf(ctx, err)
		}
		// The publication may just have been replaced, or the publisher's edge does
		// not know yet what this one knows.
		select {
		case <-wait.Done():
			return causeOf(ctx, err)
		case <-time.After(pause):
		}
	}
}

func (l *downlink) subscribe(ctx context.Context, pub media.Publication) error {
	d := l.d
	next := &connection{sid: rand.Text(), pub: pub}
	onCandidate, onClose := d.callbacks(&l.box, l, next)
	work, cancel := context.WithTimeout(ctx, workWait)
	defer cancel()
	s, sdp, err := d.engine.Subscribe(work, media.SubscribeRequest{
		Publications: []media.Publication{pub},
		Group:        d.groupNow(),
		// Clients make a channel on every connection but a screen's, and would
		// negotiate for ever if the offer had no section for it.
		DataChannel: l.key.kind == media.KindVideo,
		OnCandidate: onCandidate,
		OnClose:     onClose,
		OnRestraint: func(_ media.PubID, r media.Restraint) { d.add(&l.box, l, request{what: restrained, c: next, left: r}) },
	})
	if err != nil {
		return fmt.Errorf("subscribing: %w", err)
	}
	next.subscriber = s
	if ctx.Err() != nil {
		d.close(s, next)
		return context.Cause(ctx)
	}
	old := l.now
	l.now = next
	l.setLive(true)
	l.say(next.sid, sdp)
	l.arm(next, d.cfg.AnswerWait)
	if old != nil {
		l.disarm(old)
		d.close(old.subscriber, old)
	}
	return nil
}

// renew binds the connection to a publication that has taken the place of its
// own, or makes a new connection if that cannot be.
func (l *downlink) renew(ctx context.Context, pub media.Publication) {
	c := l.now
	if c == nil {
		return
	}
	if pub.ID == c.pub.ID && c.ended {
		l.revive(c) // it was not the end after all: announced again to a new home
	}
	if !newer(pub.ID, c.pub.ID) {
		return
	}
	err := c.subscriber.Rebind(pub)
	if err == nil {
		c.pub = pub
		l.revive(c)
		l.d.stats.rebound(rebindDone)
		return
	}
	l.d.log.Debug("not rebound", keyPublication, pub.ID.String(), keyError, err)
	if err = l.connect(ctx, time.Now().Add(l.d.cfg.OfferWait)); err == nil {
		l.d.stats.rebound(rebindNew)
		return
	}
	if errors.Is(err, errSuperseded) || errors.Is(err, errOver) {
		return // what comes next takes care of the connection
	}
	l.d.stats.rebound(rebindFailed)
	l.d.log.Info("no connection to a renewed publication", keyPublication, pub.ID.String(), keyError, err)
	l.drop()
}

// withdrawn is the end of the publication. The client has closed a screen's
// connection by itself; a camera may come back.
func (l *downlink) withdrawn(id media.PubID) {
	c := l.now
	if c == nil || newer(c.pub.ID, id) {
		return
	}
	if l.key.kind == media.KindVideo {
		c.ended = true
		l.arm(c, l.d.cfg.Linger)
		return
	}
	l.drop()
	if left := l.d.cfg.OfferWait - time.Since(l.asked); left > 0 {
		// The request may have been meant for the next share, and have overtaken
		// the end of the last one. There is no other.
		l.d.add(&l.box, l, request{what: ask, again: true})
	}
}

func (l *downlink) answer(m *wire.MediaMessage) error {
	c := l.named(m)
	if c == nil {
		return errUnknownSID
	}
	if err := c.subscriber.Answer(m.Payload.SDP); err != nil {
		return fmt.Errorf("answering: %w", err)
	}
	if c.answered {
		return nil
	}
	c.answered = true
	if !c.ended {
		l.disarm(c)
	}
	return nil
}

func (l *downlink) candidate(m *wire.MediaMessage) error {
	c := l.named(m)
	if c == nil {
		return errUnknownSID
	}
	// The engine keeps those that come before the answer.
	return c.subscriber.AddCandidate(mediaCandidate(m.Payload.Candidate))
}

func (l *downlink) choose(m *wire.MediaMessage) error {
	c := l.named(m)
	if c == nil {
		return errUnknownSID
	}
	p := m.Payload
	return c.subscriber.Select(c.pub.ID, media.Selection{
		Video: p.Video, Audio: p.Audio, Substream: p.Substream, Temporal: p.Temporal,
	})
}

// named is the current connection if the message is about it. Some clients
// leave the sid out.
func (l *downlink) named(m *wire.MediaMessage) *connection {
	if l.now == nil || m.SID != "" && m.SID != l.now.sid {
		return nil
	}
	return l.now
}

// drop closes the connection. The client is not told: it finds out, or knows.
func (l *downlink) drop() {
	old := l.now
	if old == nil {
		return
	}
	l.now = nil
	l.setLive(false)
	l.disarm(old)
	l.d.close(old.subscriber, old)
}

func (l *downlink) say(sid, sdp string) {
	l.d.say(l.key.publisher, l.key.kind, wire.MediaOffer, sid, wire.MediaPayload{Type: string(wire.MediaOffer), SDP: sdp})
}

// arm gives the connection a deadline, in place of an earlier one.
func (l *downlink) arm(c *connection, after time.Duration) {
	l.disarm(c)
	c.deadline = time.Now().Add(after)
	c.timer = time.AfterFunc(after, func() { l.d.add(&l.box, l, request{what: expired, c: c}) })
}

// revive takes the end of the publication back.
func (l *downlink) revive(c *connection) {
	c.ended = false
	l.disarm(c)
	if !c.answered {
		l.arm(c, l.d.cfg.AnswerWait)
	}
}

func (l *downlink) disarm(c *connection) {
	if c.timer != nil {
		c.timer.Stop()
	}
	c.deadline = time.Time{}
}

func (l *downlink) setLive(live bool) {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	l.live = live
}

// shedStates are the words for what overload does.
var shedStates = map[media.Restraint]string{
	media.Unrestrained: wire.ShedNothing, media.Lowered: wire.ShedLowered, media.Paused: wire.ShedPaused,
}

// causeOf is why ctx ended, if it has, else err.
func causeOf(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// prefix writes a publisher for logs, as PubID does.
func prefix(key downlinkKey) string { return fmt.Sprintf("%.12s/%s", key.publisher, key.kind) }
