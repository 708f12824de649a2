package signaling

import "github.com/talkd/talkd/signaling/internal/signalpb"

// unsure is what has been said to users and sessions outside of rooms over a stream and may
// not have been heard: the other end may hang, which is noticed after a while only. A stream
// keeps its order, so that a beat which was heard says that all before it was.
type unsure struct {
	pulse *pulse
	list  []unsureFrame
	bytes int
}

type unsureFrame struct {
	frame *signalpb.Frame
	beat  uint64 // the last one before it
}

// size is that of what the client gets.
func (f unsureFrame) size() int {
	return len(f.frame.GetUser().GetFrame()) + len(f.frame.GetDirect().GetFrame())
}

// add notes what is being sent. What has no number would be heard twice.
func (u *unsure) add(f *signalpb.Frame) {
	if f.GetUser().GetNumber() == 0 && f.GetDirect().GetNumber() == 0 {
		return
	}
	sent := unsureFrame{f, u.pulse.ours.Load()}
	u.list = append(u.list, sent)
	u.bytes += sent.size()
	for len(u.list) > maxOutbox || u.bytes > maxOutboxBytes {
		u.drop()
	}
}

// confirm forgets what has been heard.
func (u *unsure) confirm() {
	for heard := u.pulse.echo.Load(); len(u.list) > 0 && u.list[0].beat < heard; {
		u.drop()
	}
}

func (u *unsure) drop() {
	u.bytes -= u.list[0].size()
	u.list[0] = unsureFrame{}
	u.list = u.list[1:]
}

// sayAgain says what may be lost with a stream, and what waited for it: to this node when
// it is back, and what it was to pass on to all others. A session may be at another node by
// now.
func (p *peer) sayAgain(u *unsure, out <-chan *signalpb.Frame) {
	u.confirm()
	for len(out) > 0 { // nobody writes to it any more
		u.add(<-out)
	}
	for _, sent := range u.list {
		user, direct := sent.frame.GetUser(), sent.frame.GetDirect()
		switch {
		case user.GetRoute() != 0:
			p.hub.toAll(user)
		case direct.GetOrigin() == string(p.hub.deps.Self):
			p.hub.direct(direct, "")
		default:
			p.send(sent.frame)
		}
	}
}
