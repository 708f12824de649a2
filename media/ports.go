package media

import (
	"context"
	"time"
)

// Source is where the packets of one layer come from: a publisher's connection
// or a relay. Read blocks for at least one packet, then returns what is there;
// each packet carries one reference, which the reader releases. After Close,
// Read returns an error.
type Source interface {
	Read(batch []*Packet) (int, error)
	Close() error
}

// Sink takes the packets of one layer. Write never blocks, and the batch is the
// caller's again when it returns: a Sink that keeps a packet retains it.
type Sink interface {
	Write(batch []*Packet)
}

// Feedback goes upstream to who sends a layer. Neither method blocks. NACK asks
// for packets by the sequence numbers they have in the layer.
type Feedback interface {
	NACK(seqs []uint16)
	Keyframe()
}

// Clock maps the RTP timestamps of a layer to the publisher's wall clock, as
// its last sender report says (RFC 3550 6.4.1). Arrival is this node's time at
// which that report came in.
type Clock struct {
	NTP     uint64
	RTP     uint32
	Arrival time.Time
}

// DataMessage is a message of the publisher's data channels. Data is immutable.
type DataMessage struct {
	Text bool
	Data []byte
}

// Bounds of data-channel messages.
const (
	// MaxDataMessage is the largest message that is forwarded; larger ones are
	// dropped and counted.
	MaxDataMessage = 16 << 10
	// DataQueue is the length of a queue of messages to one receiver. A message
	// that finds it full is dropped and counted.
	DataQueue = 64
)

// Remote brings publications of other nodes here; relay.Manager meets it. The
// engine calls Pull once per publication for all that listen on this node,
// owns the result, and closes it when the last one has left.
type Remote interface {
	Pull(ctx context.Context, pub Publication) (*Relayed, error)
}

// Relayed is a publication of another node as it arrives here. All fields but
// Data are required.
type Relayed struct {
	// Layers has one entry for each layer of each track of the publication.
	Layers []RelayedLayer
	// Data brings the publisher's data-channel messages. The channel need not be
	// closed; it is read until Done.
	Data <-chan DataMessage
	// Done is closed when the publication has ended or the way to it is lost;
	// Err then says why, ErrPublisherGone for the former.
	Done <-chan struct{}
	Err  func() error
	// Close ends the pull and returns when its goroutines are gone. Source.Read
	// of all layers then fails. The engine calls it once.
	Close func() error
}

// RelayedLayer is one layer of a Relayed. One goroutine of the engine reads
// Source; Feedback is used by many. Clock may be nil. Past tells that the first packets
// are those since a keyframe of just now, so that none need be asked for.
type RelayedLayer struct {
	Track, Layer uint8
	Source       Source
	Feedback     Feedback
	Clock        func() (Clock, bool)
	Past         bool
}
