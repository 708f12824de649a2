package media

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/webrtc/v4"
)

const (
	// maxPublications bounds what one connection carries.
	maxPublications = 128
	// dataLabel is the label of our data channel. Clients take messages from any.
	dataLabel = "status"
)

// SubscribeRequest asks to send publications to a session.
type SubscribeRequest struct {
	Publications []Publication
	Group        string
	// DataChannel makes the offer contain a data channel, also when the
	// publishers have none: Nextcloud's clients open one on every connection that
	// receives a camera.
	DataChannel bool
	// OnCandidate and OnClose are as for a PublishRequest.
	OnCandidate func(Candidate)
	OnClose     func(error)
	// OnRestraint is told when overload of this node begins to do something else to
	// the video of a publication. It may be nil, and must not block.
	OnRestraint func(PubID, Restraint)
}

// Selection is what a subscriber wants of a publication; nil leaves a choice as
// it is. Substream is the index of a layer, of which the best that exists and
// does not exceed it is sent. Temporal is taken and without effect: all
// temporal layers of a substream are sent.
type Selection struct {
	Video     *bool
	Audio     *bool
	Substream *int
	Temporal  *int
}

// Subscriber is a connection by which publications are sent to a session.
type Subscriber struct {
	*conn
	e       *Engine
	egress  *egress
	name    string // of the group
	nonce   string // of the names of its tracks
	group   *group
	order   uint64                 // of those of the engine: later ones are higher
	told    func(PubID, Restraint) // OnRestraint
	channel *webrtc.DataChannel    // nil without
	open    chan struct{}          // closed when the channel is open

	established atomic.Bool // subs and their tracks are complete, and packets flow
	negotiation sync.Mutex  // one at a time

	mu   sync.Mutex
	subs []*subscription // guarded by mu; the slice never changes after Subscribe
}

// subscription is one sender's publication on a Subscriber.
type subscription struct {
	tracks []*downTrack
	// bound ends with what the tracks are bound to. Before it are those that they
	// still forward, until that flows.
	bound []*binding // guarded by Subscriber.mu; never empty while there are tracks
}

// binding is a use of a feed.
type binding struct {
	feed    *feed
	release func()
	since   time.Time
	stop    chan struct{} // ends the data-channel goroutine; nil without
}

func (sub *subscription) last() *binding { return sub.bound[len(sub.bound)-1] }

// Subscribe makes an offer when it is its turn. It does not wait for other nodes:
// what they publish is known from the Publication, and their packets come when
// they come.
func (e *Engine) Subscribe(ctx context.Context, r SubscribeRequest) (*Subscriber, string, error) {
	if len(r.Publications) == 0 || len(r.Publications) > maxPublications || len(r.Group) > maxGroup {
		return nil, "", fmt.Errorf("%w: %d in one connection", ErrBadPublication, len(r.Publications))
	}
	used, err := formatsIn(r.Publications)
	if err != nil {
		return nil, "", err
	}
	m, err := forSubscribers(used)
	if err != nil {
		return nil, "", err
	}
	out := &egress{lost: e.metrics.dropped.WithLabelValues(dropTCP), echo: echo{asked: make(chan request, maxRequests), dropped: e.metrics.resendDropped}}
	c, err := newConn(ctx, e.net, m, out, r.OnCandidate, r.OnClose, e.recovered)
	if err != nil {
		return nil, "", err
	}
	out.echo.recovered, out.echo.end = e.recovered, func() { c.end(ErrConnection) }
	c.pc.SCTP().Transport().ICETransport().OnSelectedCandidatePairChange(out.follow)
	s := &Subscriber{conn: c, e: e, egress: out, name: r.Group, told: r.OnRestraint, open: make(chan struct{}), nonce: rand.Text()}
	if err := s.register(); err != nil {
		_ = s.Close()
		return nil, "", err
	}
	offer, err := s.begin(ctx, r, used)
	if err != nil {
		_ = s.Close()
		return nil, "", err
	}
	return s, offer, nil
}

// formatsIn are those of publications that are to be sent to a subscriber.
func formatsIn(publications []Publication) (used []*format, err error) {
	for _, pub := range publications {
		if err := forwardable(pub); err != nil {
			return nil, err
		}
		for _, t := range pub.Tracks {
			if f := formatOf(t.Codec); !slices.Contains(used, f) {
				used = append(used, f)
			}
		}
	}
	return used, nil
}

// alone tells whether there is no other format of the kind.
func alone(f *format, used []*format) bool {
	return !slices.ContainsFunc(used, func(other *format) bool { return other != f && other.kind == f.kind })
}

// forwardable checks a publication that is to be sent to a subscriber.
func forwardable(pub Publication) error {
	if err := pub.Validate(); err != nil {
		return err
	}
	for _, t := range pub.Tracks {
		if !t.forwardable() {
			return fmt.Errorf("%w: codec of track %d", ErrBadPublication, t.Index)
		}
	}
	return nil
}

// register makes the subscriber known; from now on its conn is waited for.
func (s *Subscriber) register() error {
	e := s.e
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.closed:
		return ErrClosed
	case len(e.subscribers) >= e.cfg.MaxSubscribers:
		return fmt.Errorf("%w: %d subscribers", ErrFull, len(e.subscribers))
	}
	s.group = e.joinLocked(s.name)
	s.group.subscribers++
	e.ordered++
	s.order = e.ordered
	e.subscribers[s] = struct{}{}
	e.wg.Add(1)
	s.release = e.wg.Done
	s.teardown = func() {
		s.leave()
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.subscribers, s)
		s.group.subscribers--
		e.leaveLocked(s.name)
	}
	return nil
}

// leave detaches from everything.
func (s *Subscriber) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sub := range s.subs {
		for _, d := range sub.tracks {
			d.close()
		}
		for _, b := range sub.bound {
			b.end()
		}
	}
}

func (b *binding) end() {
	if b.stop != nil {
		close(b.stop)
	}
	b.release()
}

func (s *Subscriber) begin(ctx context.Context, r SubscribeRequest, used []*format) (string, error) {
	for _, pub := range r.Publications {
		if err := s.add(pub, used); err != nil {
			return "", err
		}
	}
	if r.DataChannel {
		c, err := s.pc.CreateDataChannel(dataLabel, nil)
		if err != nil {
			return "", fmt.Errorf("media: data channel: %w", err)
		}
		s.channel = c
		c.OnOpen(sync.OnceFunc(func() { close(s.open) }))
		s.mu.Lock()
		for _, sub := range s.subs {
			s.forwardDataLocked(sub.last())
		}
		s.mu.Unlock()
	}
	s.connected = s.connect
	s.run(s.attend)
	return s.Offer(ctx)
}

// connect lets the packets flow.
func (s *Subscriber) connect() {
	s.egress.decide(s.pc.SCTP().Transport().ICETransport(), s.e.metrics)
	for _, sub := range s.subs {
		for _, d := range sub.tracks {
			if d.connect(s.egress) != nil {
				s.end(ErrConnection) // two tracks have the same SSRC by chance
				return
			}
			if s.egress.sealer == nil && !s.established.Load() {
				s.run(d.listen)
			}
		}
	}
	s.established.Store(true)
}

// add takes one publication into the connection, which has all that are used.
func (s *Subscriber) add(pub Publication, used []*format) error {
	f, release, err := s.e.acquire(pub)
	if err != nil {
		return err
	}
	sub := &subscription{bound: []*binding{{feed: f, release: release, since: time.Now()}}}
	s.mu.Lock()
	taken := s.findLocked(pub.ID) != nil
	if !taken {
		s.subs = append(s.subs, sub)
	}
	s.mu.Unlock()
	if taken {
		release()
		return fmt.Errorf("%w: the same sender twice", ErrBadPublication)
	}
	for _, t := range f.pub.Tracks {
		d := newDownTrack(s.streamID(f.pub.ID), t, &s.group.traffic, s.e.metrics)
		transceiver, err := s.pc.AddTransceiverFromTrack(d, webrtc.RTPTransceiverInit{
			Direction: webrtc.RTPTransceiverDirectionSendonly,
		})
		if err != nil {
			return fmt.Errorf("media: track: %w", err)
		}
		if f := formatOf(t.Codec); !alone(f, used) {
			// Each section offers what its track has, and nothing of the others'.
			if err := transceiver.SetCodecPreferences(f.parameters(feedbackOfSubscribers())); err != nil {
				return fmt.Errorf("media: track: %w", err)
			}
		}
		d.onRestraint = s.told
		d.rebind(f, t.Index)
		sub.tracks = append(sub.tracks, d)
		d.sender = transceiver.Sender()
	}
	return nil
}

// sameSender tells whether one publication continues the other.
func sameSender(a, b PubID) bool { return a.Session == b.Session && a.Kind == b.Kind }

// streamID names the tracks of one sender, so that they are played in time. It
// stays when the sender publishes again, but is another on each connection: a
// browser that goes from one node to another shows tracks of both in one
// stream, which takes no two of one name.
func (s *Subscriber) streamID(id PubID) string {
	sum := sha256.Sum256([]byte(s.nonce + "/" + string(id.Session) + "/" + id.Kind))
	return hex.EncodeToString(sum[:8])
}

// Offer returns an offer for the connection as it is: a new one, or the last
// one as long as it is unanswered.
func (s *Subscriber) Offer(ctx context.Context) (string, error) {
	s.negotiation.Lock()
	defer s.negotiation.Unlock()
	if s.ended() {
		return "", ErrClosed
	}
	if s.pc.SignalingState() == webrtc.SignalingStateHaveLocalOffer {
		if d := s.pc.LocalDescription(); d != nil {
			return d.SDP, nil
		}
	}
	d, err := s.pc.CreateOffer(nil)
	if err != nil {
		return "", s.failed(fmt.Errorf("media: offer: %w", err))
	}
	text, err := s.setLocal(ctx, d)
	if err != nil {
		return "", s.failed(fmt.Errorf("media: offer: %w", err))
	}
	return text, nil
}

// failed prefers ErrClosed to what the library says of a closed connection.
func (s *Subscriber) failed(err error) error {
	if s.ended() {
		return ErrClosed
	}
	return err
}

// Answer takes the answer to the last offer.
func (s *Subscriber) Answer(text string) error {
	s.negotiation.Lock()
	defer s.negotiation.Unlock()
	if s.ended() {
		return ErrClosed
	}
	offered := s.pc.LocalDescription()
	if s.pc.SignalingState() != webrtc.SignalingStateHaveLocalOffer || offered == nil {
		return fmt.Errorf("%w: no offer is open", ErrState)
	}
	clean, candidates, err := cleanAnswer(text, offered.SDP)
	if err != nil {
		return err
	}
	if err := s.setRemote(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: clean}, candidates); err != nil {
		if errors.Is(err, ErrBadCandidate) {
			return err
		}
		return s.failed(fmt.Errorf("%w: %w", ErrBadAnswer, err))
	}
	s.egress.tcp.detour.answered()
	return nil
}

// Select pauses tracks or chooses layers.
func (s *Subscriber) Select(id PubID, sel Selection) error {
	s.mu.Lock()
	sub := s.findLocked(id)
	s.mu.Unlock()
	if sub == nil {
		return fmt.Errorf("%w: %s", ErrNotFound, id)
	}
	for _, d := range sub.tracks {
		if d.kind == Video {
			d.choose(sel.Video, sel.Substream)
		} else {
			d.choose(sel.Audio, nil)
		}
	}
	return nil
}

func (s *Subscriber) findLocked(id PubID) *subscription {
	for _, sub := range s.subs {
		if sameSender(sub.last().feed.pub.ID, id) {
			return sub
		}
	}
	return nil
}
