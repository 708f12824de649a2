package relay

import "github.com/talkd/talkd/media"

// Local is what a Manager uses of a publication of its own node.
type Local interface {
	Publication() media.Publication
	Done() <-chan struct{}
	Attach(track, layer uint8, sink media.Sink) (Attachment, error)
	SubscribeData() DataSubscription
}

// Attachment is a layer that flows to a sink; *media.Attachment is one.
type Attachment interface {
	media.Feedback
	Clock() (media.Clock, bool)
	// Past writes what the layer has had since a keyframe of just now to the sink; false
	// when there is none.
	Past() bool
	Close()
}

// DataSubscription brings data-channel messages; *media.DataSubscription is one.
type DataSubscription interface {
	C() <-chan media.DataMessage
	Close()
}

// ServeLocal makes Deps.Local of media.Engine's method Local.
func ServeLocal(find func(media.PubID) (*media.Local, bool)) func(media.PubID) (Local, bool) {
	return func(id media.PubID) (Local, bool) {
		l, ok := find(id)
		return local{l}, ok
	}
}

// local differs from *media.Local in the types of the results only.
type local struct{ *media.Local }

func (l local) Attach(track, layer uint8, sink media.Sink) (Attachment, error) {
	a, err := l.Local.Attach(track, layer, sink)
	if err != nil {
		return nil, err
	}
	return a, nil
}

func (l local) SubscribeData() DataSubscription { return l.Local.SubscribeData() }
