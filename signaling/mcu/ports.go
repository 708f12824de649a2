package mcu

import (
	"context"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// Engine makes connections. Real makes one of a *media.Engine.
//
// The callbacks of a request may be called from any goroutine, also before
// Publish or Subscribe has returned.
type Engine interface {
	Publish(ctx context.Context, r media.PublishRequest) (Publisher, string, error)
	Subscribe(ctx context.Context, r media.SubscribeRequest) (Subscriber, string, error)
}

// Publisher is the connection on which the client sends. Candidates that come
// too early are the engine's business, and so is the empty one that ends them.
type Publisher interface {
	Publication() media.Publication
	AddCandidate(media.Candidate) error
	Close() error
}

// Subscriber is a connection on which the client receives. It stays open when
// its publication ends, so that it can be bound to the next one.
type Subscriber interface {
	Answer(sdp string) error
	Offer(ctx context.Context) (string, error)
	AddCandidate(media.Candidate) error
	Select(media.PubID, media.Selection) error
	Rebind(media.Publication) error
	Close() error
}

// Directory is what the edge knows of the publications of the session's room.
type Directory interface {
	// Await returns the publication of a publisher as soon as it is announced.
	// It fails with wire.ErrNotAllowed if the two may not see each other, and
	// with the error of ctx when that ends first.
	Await(ctx context.Context, publisher store.SessionID, kind string) (media.Publication, error)
}

// Host is the session of the desk: it takes what the desk has to say. No method
// may block.
type Host interface {
	// Send sends to the session's own client, in the name of the sender.
	Send(sender store.SessionID, m wire.MediaMessage)
	// Announce says what is published from now on. It comes with the answer to
	// the offer, before any media. Withdraw says what is not published any more.
	// For one kind they come in order: a publication that takes the place of
	// another is announced before the other is withdrawn.
	Announce(media.Publication)
	Withdraw(media.PubID)
	// Shed says that this node leaves out video of a publisher, or no longer does.
	Shed(wire.Shed)
}

// Real makes an Engine of the engine of package media, whose connections are
// concrete types.
func Real(e *media.Engine) Engine { return realEngine{e} }

type realEngine struct{ e *media.Engine }

func (r realEngine) Publish(ctx context.Context, req media.PublishRequest) (Publisher, string, error) {
	p, answer, err := r.e.Publish(ctx, req)
	if err != nil {
		return nil, "", err
	}
	return p, answer, nil
}

func (r realEngine) Subscribe(ctx context.Context, req media.SubscribeRequest) (Subscriber, string, error) {
	s, offer, err := r.e.Subscribe(ctx, req)
	if err != nil {
		return nil, "", err
	}
	return s, offer, nil
}
