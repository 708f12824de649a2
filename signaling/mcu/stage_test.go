package mcu_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/signaling/mcu"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

const (
	own   = store.SessionID("own")
	alice = store.SessionID("alice")
	bob   = store.SessionID("bob")
)

// stage is a desk with fakes around it.
type stage struct {
	*mcu.Desk
	t      *testing.T
	engine *fakeEngine
	dir    *fakeDirectory
	host   *fakeHost
}

func newStage(t *testing.T, cfg mcu.Config) *stage {
	t.Helper()
	m, err := mcu.NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	cfg.Session, cfg.Incarnation = own, 3
	if cfg.Group == "" {
		cfg.Group = "room"
	}
	s := &stage{t: t, engine: &fakeEngine{}, dir: newFakeDirectory(), host: &fakeHost{}}
	s.Desk = mcu.NewDesk(cfg, s.engine, s.dir, s.host, slog.New(slog.DiscardHandler), m)
	return s
}

// run runs a test in a bubble of its own time, and checks at its end that
// nothing is left open.
func run(t *testing.T, cfg mcu.Config, test func(t *testing.T, s *stage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, cfg)
		test(t, s)
		s.Close()
		s.checkClosed()
	})
}

func (s *stage) checkClosed() {
	s.t.Helper()
	for _, p := range s.engine.publishers() {
		if n := p.closes(); n != 1 && !p.failed() {
			s.t.Errorf("publisher %v closed %d times", p.pub.ID, n)
		}
	}
	for _, sub := range s.engine.subscribers() {
		if n := sub.closes(); n != 1 {
			s.t.Errorf("subscriber of %v closed %d times", sub.req.Publications[0].ID, n)
		}
	}
	if p, n := s.Counts(); p != 0 || n != 0 || len(s.Published()) != 0 {
		s.t.Errorf("%d publishers and %d subscribers left", p, n)
	}
}

// outcome is what came of a message.
type outcome struct {
	mu   sync.Mutex
	errs []error
}

func (o *outcome) reply(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.errs = append(o.errs, err)
}

func (o *outcome) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var words []string
	for _, err := range o.errs {
		if err == nil {
			words = append(words, "ok")
		} else {
			words = append(words, string(wire.ErrorFor(err).Code))
		}
	}
	if words == nil {
		return "waiting"
	}
	return strings.Join(words, " ")
}

// say hands a message in and lets everything happen that can.
func (s *stage) say(to store.SessionID, m wire.MediaMessage) *outcome {
	o := s.post(to, m)
	synctest.Wait()
	return o
}

func (s *stage) post(to store.SessionID, m wire.MediaMessage) *outcome {
	if m.RoomType == "" {
		m.RoomType = wire.RoomTypeVideo
	}
	o := &outcome{}
	s.Handle(to, &m, o.reply)
	return o
}

func (s *stage) wantOutcome(o *outcome, want string) {
	s.t.Helper()
	if got := o.String(); got != want {
		s.t.Errorf("outcome %q, want %q", got, want)
	}
}

// wantSaid compares what the host was told since the last call.
func (s *stage) wantSaid(want ...string) {
	s.t.Helper()
	synctest.Wait()
	if got := s.host.take(); !slices.Equal(got, want) {
		s.t.Errorf("host was told:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// lastSID is the sid of the last offer.
func (s *stage) lastSID() string {
	s.host.mu.Lock()
	defer s.host.mu.Unlock()
	return s.host.lastSID
}

func description(t wire.MediaType, kind, sid, sdp string) wire.MediaMessage {
	return wire.MediaMessage{
		Type: t, RoomType: kind, SID: sid, Payload: &wire.MediaPayload{Type: string(t), SDP: sdp},
	}
}

func offer(kind, sid string) wire.MediaMessage {
	return description(wire.MediaOffer, kind, sid, "offer-"+sid)
}

func answer(kind, sid string) wire.MediaMessage {
	return description(wire.MediaAnswer, kind, sid, "answer-"+sid)
}

func candidate(kind, sid, text string) wire.MediaMessage {
	return wire.MediaMessage{
		Type: wire.MediaCandidate, RoomType: kind, SID: sid,
		Payload: &wire.MediaPayload{Candidate: &wire.Candidate{Candidate: text}},
	}
}

func requestOffer(kind, sid string) wire.MediaMessage {
	return wire.MediaMessage{Type: wire.MediaRequestOffer, RoomType: kind, SID: sid}
}

func publication(of store.SessionID, kind string, generation uint32) media.Publication {
	return media.Publication{ID: media.PubID{Session: of, Kind: kind, Generation: generation}, Edge: "n2", Group: "room"}
}

// announce is what the hub does with the news of a publication, withdraw and
// gone likewise.
func (s *stage) announce(pub media.Publication) {
	s.dir.put(pub)
	s.Announced(pub)
	synctest.Wait()
}

func (s *stage) withdraw(id media.PubID) {
	s.dir.remove(id)
	s.Withdrawn(id)
	synctest.Wait()
}

// fakeHost writes down what it is told. A random sid is written as its number.
type fakeHost struct {
	mu      sync.Mutex
	lines   []string
	sids    []string
	lastSID string
}

func (h *fakeHost) Send(sender store.SessionID, m wire.MediaMessage) {
	h.mu.Lock()
	defer h.mu.Unlock()
	sid := m.SID
	if sender != own {
		if m.Type == wire.MediaOffer {
			h.lastSID = sid
			if !slices.Contains(h.sids, sid) {
				h.sids = append(h.sids, sid)
			}
		}
		sid = fmt.Sprint("#", slices.Index(h.sids, sid)+1)
	}
	text := m.Payload.SDP
	if m.Payload.Candidate != nil {
		text = m.Payload.Candidate.Candidate
	}
	if m.From != sender || m.To != own || m.Payload.SDP != "" && m.Payload.Type != string(m.Type) {
		text += " BAD"
	}
	h.lines = append(h.lines, fmt.Sprintf("%s: %s %s %s %s", sender, m.Type, m.RoomType, sid, text))
}

func (h *fakeHost) Announce(pub media.Publication) { h.note("announce", pub.ID) }

func (h *fakeHost) Withdraw(id media.PubID) { h.note("withdraw", id) }

func (h *fakeHost) Shed(m wire.Shed) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lines = append(h.lines, fmt.Sprintf("%s: shed %s #%d %s", m.SessionID, m.RoomType, slices.Index(h.sids, m.SID)+1, m.State))
}

func (h *fakeHost) note(verb string, id media.PubID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lines = append(h.lines, fmt.Sprintf("%s %s", verb, id))
}

func (h *fakeHost) take() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	lines := h.lines
	h.lines = nil
	return lines
}

// fakeDirectory knows publications, and whom the session may not see.
type fakeDirectory struct {
	mu      sync.Mutex
	pubs    map[store.SessionID]map[string]media.Publication
	hidden  map[store.SessionID]bool
	changed chan struct{} // closed at a change
}

func newFakeDirectory() *fakeDirectory {
	return &fakeDirectory{
		pubs:    make(map[store.SessionID]map[string]media.Publication),
		hidden:  make(map[store.SessionID]bool),
		changed: make(chan struct{}),
	}
}

func (d *fakeDirectory) Await(ctx context.Context, publisher store.SessionID, kind string) (media.Publication, error) {
	for {
		d.mu.Lock()
		pub, ok := d.pubs[publisher][kind]
		hidden, changed := d.hidden[publisher], d.changed
		d.mu.Unlock()
		switch {
		case hidden:
			return media.Publication{}, wire.ErrNotAllowed
		case ok:
			return pub, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return media.Publication{}, ctx.Err()
		}
	}
}

func (d *fakeDirectory) put(pub media.Publication) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.pubs[pub.ID.Session] == nil {
		d.pubs[pub.ID.Session] = make(map[string]media.Publication)
	}
	d.pubs[pub.ID.Session][pub.ID.Kind] = pub
	close(d.changed)
	d.changed = make(chan struct{})
}

func (d *fakeDirectory) remove(id media.PubID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.pubs[id.Session][id.Kind].ID == id {
		delete(d.pubs[id.Session], id.Kind)
	}
}

// fakeEngine makes connections of the fakes below. The hooks are set before
// use, and called without a lock.
type fakeEngine struct {
	onPublish   func(ctx context.Context, r media.PublishRequest) error
	onSubscribe func(ctx context.Context, r media.SubscribeRequest) error
	onRebind    func(media.Publication) error
	onAnswer    func()

	mu   sync.Mutex
	pubs []*fakePublisher
	subs []*fakeSubscriber
}

func (e *fakeEngine) Publish(ctx context.Context, r media.PublishRequest) (mcu.Publisher, string, error) {
	if e.onPublish != nil {
		if err := e.onPublish(ctx, r); err != nil {
			return nil, "", err
		}
	}
	p := &fakePublisher{req: r, pub: media.Publication{ID: r.ID, Edge: "n1", Group: r.Group}}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pubs = append(e.pubs, p)
	return p, "answer-to-" + r.Offer, nil
}

func (e *fakeEngine) Subscribe(ctx context.Context, r media.SubscribeRequest) (mcu.Subscriber, string, error) {
	if e.onSubscribe != nil {
		if err := e.onSubscribe(ctx, r); err != nil {
			return nil, "", err
		}
	}
	s := &fakeSubscriber{req: r, rebind: e.onRebind, answer: e.onAnswer}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.subs = append(e.subs, s)
	return s, "offer-of-" + r.Publications[0].ID.String(), nil
}

func (e *fakeEngine) publishers() []*fakePublisher {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.pubs)
}

func (e *fakeEngine) subscribers() []*fakeSubscriber {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.subs)
}

func (e *fakeEngine) publisher(t *testing.T, n int) *fakePublisher {
	t.Helper()
	if all := e.publishers(); n < len(all) {
		return all[n]
	}
	t.Fatalf("no publisher %d", n)
	return nil
}

func (e *fakeEngine) subscriber(t *testing.T, n int) *fakeSubscriber {
	t.Helper()
	if all := e.subscribers(); n < len(all) {
		return all[n]
	}
	t.Fatalf("no subscriber %d", n)
	return nil
}

// diary is what a connection was told.
type diary struct {
	mu     sync.Mutex
	lines  []string
	closed int
	dead   bool
}

func (d *diary) write(format string, args ...any) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed > 0 || d.dead {
		return media.ErrClosed
	}
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
	return nil
}

func (d *diary) want(t *testing.T, want ...string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Equal(d.lines, want) {
		t.Errorf("connection was told %q, want %q", d.lines, want)
	}
	d.lines = nil
}

func (d *diary) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed++
	return nil
}

func (d *diary) AddCandidate(c media.Candidate) error {
	if c.Candidate == "bad" {
		return fmt.Errorf("%w: for the test", media.ErrBadCandidate)
	}
	return d.write("candidate %s", c.Candidate)
}

func (d *diary) closes() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.closed
}

func (d *diary) failed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.dead
}

func (d *diary) die() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dead = true
}

type fakePublisher struct {
	diary
	req media.PublishRequest
	pub media.Publication
}

func (p *fakePublisher) Publication() media.Publication { return p.pub }

// fail ends the connection from the other side.
func (p *fakePublisher) fail() {
	p.die()
	p.req.OnClose(media.ErrConnection)
}

type fakeSubscriber struct {
	diary
	req    media.SubscribeRequest
	rebind func(media.Publication) error
	answer func()
}

func (s *fakeSubscriber) Answer(sdp string) error {
	if s.answer != nil {
		s.answer()
	}
	if sdp == "bad" {
		return fmt.Errorf("%w: for the test", media.ErrBadAnswer)
	}
	return s.write("%s", sdp)
}

func (s *fakeSubscriber) Offer(context.Context) (string, error) {
	return "another-offer", s.write("offer again")
}

func (s *fakeSubscriber) Select(id media.PubID, sel media.Selection) error {
	if sel.Substream != nil && *sel.Substream == 9 {
		return errors.New("no such layer")
	}
	layer := func(p *int) string {
		if p == nil {
			return "-"
		}
		return fmt.Sprint(*p)
	}
	video := "-"
	if sel.Video != nil {
		video = fmt.Sprint(*sel.Video)
	}
	return s.write("select %s %s/%s video %s", id, layer(sel.Substream), layer(sel.Temporal), video)
}

func (s *fakeSubscriber) Rebind(pub media.Publication) error {
	if s.rebind != nil {
		if err := s.rebind(pub); err != nil {
			return err
		}
	}
	return s.write("rebind %s", pub.ID)
}

func (s *fakeSubscriber) fail() {
	s.die()
	s.req.OnClose(media.ErrConnection)
}
