package signaling

import "github.com/talkd/talkd/signaling/internal/signalpb"

// unsure is what has been said to users over a stream and may not have been heard: the
// other end may hang, which is noticed after a while only. A stream keeps its order,
// so that a beat which was heard says that all before it was.
type unsure struct {
	pulse *pulse
	list  []unsureFrame
	bytes int
}

type unsureFrame struct {
	user *signalpb.User
	beat uint64 // the last one before it
}

// add notes what is being sent. What has no number would be heard twice.
func (u *unsure) add(f *signalpb.Frame) {
	user := f.GetUser()
	if user.GetNumber() == 0 {
		return
	}
	u.list = append(u.list, unsureFrame{user, u.pulse.ours.Load()})
	u.bytes += len(user.GetFrame())
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
	u.bytes -= len(u.list[0].user.GetFrame())
	u.list[0] = unsureFrame{}
	u.list = u.list[1:]
}

// sayAgain says what may be lost with a stream, and what waited for it: to this node when
// it is back, and what it was to pass on to all others.
func (p *peer) sayAgain(u *unsure, out <-chan *signalpb.Frame) {
	u.confirm()
	for len(out) > 0 { // nobody writes to it any more
		u.add(<-out)
	}
	for _, sent := range u.list {
		if sent.user.GetRoute() != 0 {
			p.hub.toAll(sent.user)
		} else {
			p.send(userFrame(sent.user, sent.user.GetUserIds()))
		}
	}
}
