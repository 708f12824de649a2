package mcu

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// Keys of log records.
const (
	keyPublication = "publication"
	keyError       = "error"
)

// Desk is the media of one session. There is one for the whole life of a
// session, also when it changes rooms, as generations have to go on rising.
//
// All methods may be called from any goroutine. Only Close blocks.
type Desk struct {
	cfg    Config
	engine Engine
	dir    Directory
	host   Host
	log    *slog.Logger
	stats  *Metrics

	ctx     context.Context
	stop    context.CancelFunc
	workers sync.WaitGroup

	mu        sync.Mutex
	closed    bool                      // guarded by mu
	group     string                    // guarded by mu
	uplinks   map[string]*uplink        // by kind; never changed
	downlinks map[downlinkKey]*downlink // guarded by mu
}

type downlinkKey struct {
	publisher store.SessionID
	kind      string
}

// NewDesk makes the desk of a session. The metrics may be nil.
func NewDesk(cfg Config, e Engine, d Directory, h Host, log *slog.Logger, m *Metrics) *Desk {
	ctx, stop := context.WithCancel(context.Background())
	desk := &Desk{
		cfg: cfg.withDefaults(), engine: e, dir: d, host: h, log: log, stats: m,
		ctx: ctx, stop: stop, group: cfg.Group,
		uplinks:   make(map[string]*uplink),
		downlinks: make(map[downlinkKey]*downlink),
	}
	for _, kind := range []string{media.KindVideo, media.KindScreen} {
		desk.uplinks[kind] = &uplink{d: desk, kind: kind}
	}
	return desk
}

// Handle takes a message of the client that was addressed to session to, which
// for what the client publishes is the session itself. It returns at once. The
// reply is called once with the outcome, nil if there is nothing to tell; that
// may be much later, or before Handle returns.
//
// The message has come through wire.DecodeMedia and is not changed afterwards,
// and whether the session may publish has been decided.
func (d *Desk) Handle(to store.SessionID, m *wire.MediaMessage, reply func(error)) {
	if reply == nil {
		reply = func(error) {}
	}
	r := request{m: m, reply: reply}
	switch up := d.uplinks[m.RoomType]; {
	case up == nil:
		reply(fmt.Errorf("%w: roomType", wire.ErrFormat))
		return
	case to == d.cfg.Session:
		d.handleOwn(up, r)
		return
	}
	switch m.Type {
	case wire.MediaRequestOffer:
		r.what = ask
	case wire.MediaAnswer:
		r.what = answer
	case wire.MediaCandidate:
		r.what = candidate
	case wire.MediaSelectStream:
		r.what = choose
	case wire.MediaEndOfCandidates, wire.MediaUnshareScreen:
		// Nobody needs to know the former, and the latter is news for the client
		// it was sent to.
		reply(nil)
		return
	default:
		// Nobody publishes for another session, and a sendoffer is for the desk of
		// the session that it names.
		reply(fmt.Errorf("%w: %s to another session", wire.ErrNotAllowed, m.Type))
		return
	}
	d.toDownlink(downlinkKey{to, m.RoomType}, r)
}

func (d *Desk) handleOwn(up *uplink, r request) {
	switch r.m.Type {
	case wire.MediaOffer:
		r.what = offer
	case wire.MediaCandidate:
		r.what = candidate
	case wire.MediaUnshareScreen:
		if r.m.SID == "" {
			d.Unpublish(media.KindScreen)
			r.reply(nil)
			return
		}
		up, r.what = d.uplinks[media.KindScreen], unshare
	case wire.MediaAnswer:
		r.reply(fmt.Errorf("%w: nothing was offered", wire.ErrClientNotFound))
		return
	default:
		// Nobody listens to themselves; asking for it does no harm.
		r.reply(nil)
		return
	}
	d.add(&up.box, up, r)
}

// Offer makes an offer to the client for what another session publishes, as if
// the client had asked for it; the publisher did.
func (d *Desk) Offer(publisher store.SessionID, kind string) {
	if publisher == d.cfg.Session || d.uplinks[kind] == nil {
		return
	}
	d.toDownlink(downlinkKey{publisher, kind}, request{what: ask})
}

// Announced tells of a new publication. The directory knows it already.
func (d *Desk) Announced(pub media.Publication) {
	d.toDownlink(downlinkKey{pub.ID.Session, pub.ID.Kind}, request{what: announced, pub: pub})
}

// Withdrawn tells that a publication is over. The directory has forgotten it
// already. A connection to a video is kept for a while, as its publisher may
// be about to publish again.
func (d *Desk) Withdrawn(id media.PubID) {
	d.toDownlink(downlinkKey{id.Session, id.Kind}, request{what: withdrawn, id: id})
}

// Gone tells that a session has left the room or the call. All connections to
// it are closed, and requests for it are given up.
func (d *Desk) Gone(publisher store.SessionID) {
	for kind := range d.uplinks {
		d.toDownlink(downlinkKey{publisher, kind}, request{what: end})
	}
}

// Unpublish ends what the client publishes of this kind.
func (d *Desk) Unpublish(kind string) {
	if up := d.uplinks[kind]; up != nil {
		d.add(&up.box, up, request{what: end})
	}
}

// Published lists what the client publishes.
func (d *Desk) Published() []media.Publication {
	d.mu.Lock()
	defer d.mu.Unlock()
	var pubs []media.Publication
	for _, kind := range []string{media.KindVideo, media.KindScreen} {
		if p := d.uplinks[kind].published; p != nil {
			pubs = append(pubs, *p)
		}
	}
	return pubs
}

// Counts says on how many connections the client sends and receives.
func (d *Desk) Counts() (publishers, subscribers int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, up := range d.uplinks {
		if up.published != nil {
			publishers++
		}
	}
	for _, down := range d.downlinks {
		if down.live {
			subscribers++
		}
	}
	return publishers, subscribers
}

// Enter is Reset, and names the group under which media count from now on.
func (d *Desk) Enter(group string) { d.reset(func() { d.group = group }) }

// Reset ends all media of the session. What it published is withdrawn soon
// after; what is asked of the desk from now on comes after that.
func (d *Desk) Reset() { d.reset(func() {}) }

// Close is Reset for good, and waits until all connections are closed.
func (d *Desk) Close() {
	d.reset(func() { d.closed = true })
	d.workers.Wait()
	d.stop()
}

// reset ends all links and then, in the same moment, does what comes with it.
func (d *Desk) reset(thenLocked func()) {
	var replaced []request
	r := request{what: end}
	d.mu.Lock()
	for _, up := range d.uplinks {
		more, _ := d.addLocked(&up.box, up, r)
		replaced = append(replaced, more...)
	}
	for _, down := range d.downlinks {
		more, _ := d.addLocked(&down.box, down, r)
		replaced = append(replaced, more...)
	}
	thenLocked()
	d.mu.Unlock()
	d.settle(r, replaced, nil)
}

// toDownlink adds a request to the link of a publisher, which it makes if there
// is none and the request is one to make one for.
func (d *Desk) toDownlink(key downlinkKey, r request) {
	d.mu.Lock()
	down := d.downlinks[key]
	var replaced []request
	var err error
	switch {
	case down == nil && r.what != ask:
		err = fmt.Errorf("%w: no connection to this publisher", wire.ErrClientNotFound)
	case down == nil && len(d.downlinks) >= d.cfg.Subscribers:
		err = fmt.Errorf("%w: %d connections", wire.ErrTooManyRequests, len(d.downlinks))
	default:
		if down == nil {
			down = &downlink{d: d, key: key}
			d.downlinks[key] = down
		}
		replaced, err = d.addLocked(&down.box, down, r)
	}
	d.mu.Unlock()
	d.settle(r, replaced, err)
}

// addLocked adds a request to a box and starts its worker if there is none.
func (d *Desk) addLocked(b *box, h handler, r request) ([]request, error) {
	if d.closed {
		return nil, fmt.Errorf("%w: session closed", wire.ErrClientNotFound)
	}
	if r.what == end && !b.used {
		return nil, nil
	}
	b.used = true
	replaced, ok := b.addLocked(r, d.cfg.Queue)
	if !ok {
		d.stats.drop(r.what)
		return replaced, fmt.Errorf("%w: %d wait", wire.ErrTooManyRequests, d.cfg.Queue)
	}
	if !b.working {
		b.working = true
		d.workers.Go(func() { d.work(b, h) })
	}
	return replaced, nil
}

// add is addLocked for a link that is known, and answers what comes of it.
func (d *Desk) add(b *box, h handler, r request) {
	d.mu.Lock()
	replaced, err := d.addLocked(b, h, r)
	d.mu.Unlock()
	d.settle(r, replaced, err)
}

// settle answers what addLocked has left, without the lock.
func (d *Desk) settle(r request, replaced []request, err error) {
	cause := errSuperseded
	if r.what == end {
		cause = errOver
	}
	for _, old := range replaced {
		old.done(cause)
	}
	if err != nil {
		r.done(err)
	}
}

// work empties the box.
func (d *Desk) work(b *box, h handler) {
	for {
		d.mu.Lock()
		if len(b.queue) == 0 {
			b.working, b.queue = false, nil
			h.idleLocked()
			d.mu.Unlock()
			return
		}
		r := b.queue[0]
		b.queue[0] = request{}
		b.queue = b.queue[1:]
		ctx, cancel := context.WithCancelCause(d.ctx)
		b.current, b.cancel = r.what, cancel
		d.mu.Unlock()

		h.handle(ctx, r)

		d.mu.Lock()
		b.current, b.cancel = 0, nil
		d.mu.Unlock()
		cancel(nil)
	}
}

// callbacks are those of the engine for a connection.
func (d *Desk) callbacks(b *box, h handler, c *connection) (onCandidate func(media.Candidate), onClose func(error)) {
	return func(cand media.Candidate) { d.add(b, h, request{what: local, c: c, cand: cand}) },
		func(err error) { d.add(b, h, request{what: failed, c: c, err: err}) }
}

func (d *Desk) groupNow() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.group
}
