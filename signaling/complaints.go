package signaling

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/wire"
)

// What only an operator can mend, as the log has it.
const (
	keptOut            = "a Nextcloud and this node do not work together"
	complaintNotServed = "somebody names a Nextcloud that is not served: talkd backend list has the URLs that are; one that Nextcloud writes otherwise (overwrite.cli.url) has to be added"
	complaintHere      = "a request in the name of a Nextcloud was made with another secret: enter the same one on both sides, talkd doctor looks at it"
	complaintThere     = "a Nextcloud refuses the questions of this node: enter the same secret on both sides, talkd doctor looks at it"
)

// complaintPause: strangers can cause complaints, too.
const complaintPause = time.Minute

// complaints are those that were told lately. There are three for each Nextcloud at most.
type complaints struct {
	log   *slog.Logger
	known *backend.Registry // nil: people of the embedded backend only

	mu   sync.Mutex
	told map[complaint]time.Time // guarded by mu
}

type complaint struct {
	what string
	url  string // of the Nextcloud, as it is configured; empty for one that is not served
}

// about tells the log what is wrong in err with the Nextcloud that somebody has named by a
// URL, if that is for the operator: each once a minute. What is not configured is not
// repeated there, as anybody may have written it.
func (c *complaints) about(err error, url string) {
	var it complaint
	switch {
	case c.known == nil:
		return
	case errors.Is(err, backend.ErrUnknownBackend), errors.Is(err, wire.ErrInvalidBackend):
		it.what = complaintNotServed
	case errors.Is(err, backend.ErrChecksum):
		it.what = complaintHere
	case errors.Is(err, wire.ErrInvalidRequest):
		it.what = complaintThere
	default:
		return
	}
	if it.what != complaintNotServed {
		of, _ := c.known.Resolve(url) // of none, if nobody has it
		if it.url = c.known.URL(of, ""); it.url == "" {
			return // the embedded backend, or it is not served any more
		}
	}
	now := time.Now()
	c.mu.Lock()
	again := now.Sub(c.told[it]) < complaintPause
	if !again {
		c.told[it] = now
	}
	c.mu.Unlock()
	switch {
	case again:
	case it.url == "":
		c.log.Warn(keptOut, "reason", it.what)
	default:
		c.log.Warn(keptOut, "reason", it.what, "url", it.url)
	}
}
