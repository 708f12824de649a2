package signalingtest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/talkd/talkd/signaling/wire"
)

// hush is how long nothing comes before a message is taken for one that does not come.
const hush = 500 * time.Millisecond

// compare is next and some for a server that may do otherwise: it tells what is
// different, and goes on.
func (p *player) compare(s *step) {
	p.t.Helper()
	c := p.client(s)
	if strings.HasPrefix(s.body, bodyClosed) {
		p.compareEnd(s, c)
		return
	}
	before, same := p.find(c, s.body)
	if before < 0 {
		p.differ(s, "does not come")
		return
	}
	if s.verb == verbNext {
		for _, frame := range c.unreadFrames()[:before] {
			if told := s.name + string(frame); !p.told[told] {
				p.told[told] = true
				p.differ(s, "comes after %s", frame)
			}
		}
	}
	l := c.takeAt(before)
	if !same {
		p.differ(s, "comes as %s", l.frame)
		p.names.learn([]byte(s.body), l.frame)
		p.learn(s.name, l.message)
	}
}

// find is where in the mailbox the message is that is expected: the same one, or if
// there is none, the first of its kind.
func (p *player) find(c *Client, expected string) (at int, same bool) {
	for {
		news, over := c.more()
		frames := c.unreadFrames()
		at := slices.IndexFunc(frames, func(f json.RawMessage) bool { return p.names.match([]byte(expected), f) == nil })
		if at >= 0 {
			return at, true
		}
		if !over {
			select {
			case <-news:
				continue
			case <-time.After(hush):
			}
		}
		kind := kindOf([]byte(expected))
		return slices.IndexFunc(frames, func(f json.RawMessage) bool { return kindOf(f) == kind }), false
	}
}

func (p *player) compareEnd(s *step, c *Client) {
	p.t.Helper()
	for {
		news, over := c.more()
		if over {
			p.compareRest(s.name, c)
			return
		}
		select {
		case <-news:
		case <-time.After(hush):
			p.differ(s, "stays open")
			return
		}
	}
}

// compareRest tells what came and was not expected.
func (p *player) compareRest(name string, c *Client) {
	p.t.Helper()
	for len(c.unreadFrames()) > 0 {
		if frame := c.takeAt(0).frame; !p.told[name+string(frame)] {
			p.stage.Differs(fmt.Sprintf("%s: more for %s: %s", p.file, name, frame))
		}
	}
}

// finish looks at all that is left at the end of a story, and ends all sessions: the
// server lives on, and the next story has the same rooms.
func (p *player) finish() {
	p.t.Helper()
	for _, name := range slices.Sorted(maps.Keys(p.clients)) {
		c := p.clients[name]
		p.find(c, `"nothing"`) // waits until nothing comes
		p.compareRest(name, c)
	}
	for _, c := range p.clients {
		if _, over := c.more(); !over {
			c.SendRaw([]byte(`{"type":"bye","bye":{}}`))
			c.ExpectType(wire.TypeBye)
		}
	}
}

func (p *player) differ(s *step, format string, args ...any) {
	p.t.Helper()
	p.stage.Differs(fmt.Sprintf("%s:%d: %s\n  %s", p.file, s.line, s.text, fmt.Sprintf(format, args...)))
}

// kind is what a message is about.
type kind struct{ id, messageType, target, event, transient string }

func kindOf(frame []byte) kind {
	var m struct {
		ID, Type  string
		Event     struct{ Target, Type string }
		Transient struct{ Type string }
	}
	if json.Unmarshal(frame, &m) != nil {
		return kind{}
	}
	if m.ID != "" && !strings.HasPrefix(m.ID, "<") {
		return kind{id: m.ID} // an answer is one whatever it says
	}
	return kind{"", m.Type, m.Event.Target, m.Event.Type, m.Transient.Type}
}

// learn takes from a text what placeholders of a pattern stand for, as far as the two
// are alike.
func (n names) learn(pattern, text []byte) {
	want, err := parseJSON(pattern)
	if err != nil {
		return
	}
	got, err := parseJSON(text)
	if err != nil {
		return
	}
	n.learnValue(want, got)
}

func (n names) learnValue(want, got any) {
	switch want := want.(type) {
	case string:
		_ = n.matchString("", want, got)
	case []any:
		list, _ := got.([]any)
		for i := range min(len(want), len(list)) {
			n.learnValue(want[i], list[i])
		}
	case map[string]any:
		object, _ := got.(map[string]any)
		for k := range want {
			if value, ok := object[k]; ok {
				n.learnValue(want[k], value)
			}
		}
	}
}
