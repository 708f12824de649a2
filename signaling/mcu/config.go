package mcu

import (
	"time"

	"github.com/talkd/talkd/store"
)

// Config says whose desk it is. Zero durations and limits mean the defaults.
type Config struct {
	Session     store.SessionID
	Incarnation uint32
	// Group is what media counts under, for the room the session is in.
	Group string

	// MaxBitrate is what may be published of a kind, in bits per second; 0, or no
	// function: no limit but that of the engine. It may change at any time, is asked
	// for once a second and must not wait.
	MaxBitrate func(kind string) int

	// OfferWait is how long a request for an offer waits for the publication.
	// Clients ask again after 10 s.
	OfferWait time.Duration
	// AnswerWait is how long an offer waits for its answer. It is longer than a
	// cut socket may take to resume.
	AnswerWait time.Duration
	// Linger is how long a connection waits for its publisher to publish again
	// after the publication has ended.
	Linger time.Duration

	// Subscribers bounds the connections on which the session receives, and
	// with them the requests that wait: there is one per publisher and kind.
	Subscribers int
	// Queue bounds the messages, and the candidates, that wait per connection.
	Queue int
}

const (
	defaultOfferWait   = 10 * time.Second
	defaultAnswerWait  = 60 * time.Second
	defaultLinger      = 30 * time.Second
	defaultSubscribers = 512
	defaultQueue       = 64
)

// How long the engine may take for a connection, and how soon a publication
// that could not be fetched is tried again: the publisher's edge may hear a
// moment later than this one that both are in the call.
const (
	workWait   = 10 * time.Second
	retryFirst = 200 * time.Millisecond
	retryMost  = 2 * time.Second
)

func (c Config) withDefaults() Config {
	setDefault(&c.OfferWait, defaultOfferWait)
	setDefault(&c.AnswerWait, defaultAnswerWait)
	setDefault(&c.Linger, defaultLinger)
	setDefault(&c.Subscribers, defaultSubscribers)
	setDefault(&c.Queue, defaultQueue)
	if c.MaxBitrate == nil {
		c.MaxBitrate = func(string) int { return 0 }
	}
	return c
}

func setDefault[T int | time.Duration](v *T, fallback T) {
	if *v <= 0 {
		*v = fallback
	}
}
