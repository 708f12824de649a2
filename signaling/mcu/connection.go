package mcu

import (
	"io"
	"time"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// connection is one connection of the client, as a sid names it. Only the
// worker of its link touches it.
type connection struct {
	sid string
	pub media.Publication

	// The client sends.
	publisher Publisher

	// The client receives.
	subscriber Subscriber
	answered   bool
	ended      bool      // the publication is over, and there may be another one
	deadline   time.Time // when the connection is given up; zero: never
	timer      *time.Timer
}

// close ends a connection of the engine. Its callbacks may come yet, and find
// that it is not the current one.
func (d *Desk) close(c io.Closer, of *connection) {
	if err := c.Close(); err != nil {
		d.log.Debug("connection closed with an error", keyPublication, of.pub.ID.String(), keyError, err)
	}
}

// say sends a message about a connection to the client. Sender is who publishes.
func (d *Desk) say(sender store.SessionID, kind string, t wire.MediaType, sid string, p wire.MediaPayload) {
	d.host.Send(sender, wire.MediaMessage{
		Type: t, From: sender, To: d.cfg.Session, SID: sid, RoomType: kind, Payload: &p,
	})
}

func (d *Desk) sayCandidate(sender store.SessionID, kind, sid string, c media.Candidate) {
	d.say(sender, kind, wire.MediaCandidate, sid, wire.MediaPayload{
		Candidate: &wire.Candidate{Candidate: c.Candidate, SDPMid: c.SDPMid, SDPMLineIndex: c.SDPMLineIndex},
	})
}

func mediaCandidate(c *wire.Candidate) media.Candidate {
	return media.Candidate{Candidate: c.Candidate, SDPMid: c.SDPMid, SDPMLineIndex: c.SDPMLineIndex}
}
