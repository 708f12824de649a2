package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/talkd/talkd/load"
	"github.com/talkd/talkd/load/plan"
)

// crowd are all people of a run. Only the goroutine of Run changes what belongs
// to it; while it brings people, each of those is another goroutine's.
type crowd struct {
	cfg     Config
	in      entrance
	clock   load.Clock
	network load.Network
	rooms   []*room
	numbers uint16 // publications so far
}

// room is one meeting.
type room struct {
	name   string
	home   string // base URL of the node where its people are; "": of all nodes
	people []*person
}

// person is a participant of a room.
type person struct {
	name   string
	node   string
	client *load.Client
	sends  []*publication
	hears  []*hearing
}

// publication is what somebody sends, and what of it was sent when the window
// opened and when it closed.
type publication struct {
	what       load.Sending
	number     uint16
	publisher  *load.Publisher
	from, till load.Sent
}

// hearing is what somebody gets of a publication.
type hearing struct {
	of  *publication
	sub *load.Subscription
}

// Limits of time while people are brought.
const (
	enterWithin = 30 * time.Second
	leaveWithin = 10 * time.Second
)

// grow brings people until the meetings are as they should be.
func (c *crowd) grow(ctx context.Context, m plan.Meetings) error {
	for len(c.rooms) < m.Count {
		name, err := c.in.open(ctx, fmt.Sprintf("%s %d", c.cfg.Scenario.Name, len(c.rooms)+1))
		if err != nil {
			return err
		}
		c.rooms = append(c.rooms, &room{name: name})
	}
	// The first of each room finds out where its home is.
	var first, others []arrival
	for i, r := range c.rooms {
		for n := len(r.people); n < m.Participants; n++ {
			p := &person{name: fmt.Sprintf("person %d of meeting %d", n+1, i+1), node: c.cfg.Nodes[(i+n)%len(c.cfg.Nodes)]}
			for _, what := range c.sendings(m, n) {
				p.sends = append(p.sends, &publication{what: what, number: c.numbers})
				c.numbers++
			}
			r.people = append(r.people, p)
			if n == 0 {
				first = append(first, arrival{r, p})
			} else {
				others = append(others, arrival{r, p})
			}
		}
	}
	for _, all := range [][]arrival{first, others} {
		if err := load.Each(all, func(_ int, a arrival) error { return c.enter(ctx, a) }); err != nil {
			return err
		}
	}
	return c.listen(ctx)
}

// arrival is somebody on the way to a room.
type arrival struct {
	room   *room
	person *person
}

// How loud people are, in dB above the quietest there is.
const (
	listens = 40 // the room of somebody who does not speak
	speaks  = 90
)

// sendings are what the n-th of a meeting sends.
func (c *crowd) sendings(m plan.Meetings, n int) []load.Sending {
	var all []load.Sending
	r := c.cfg.Rates
	voice := load.Sending{Voice: voicePayload(r.Voice), Loudness: speaks}
	if m.Loudest > 0 && n >= m.Loudest {
		voice.Loudness, voice.Unheard = listens, true
	}
	switch {
	case n < m.Cameras:
		voice.Video = videoPayload(r.Stream - r.Voice)
		all = append(all, voice)
	case n < m.Cameras+m.Microphones:
		all = append(all, voice)
	}
	if n < m.Screens {
		all = append(all, load.Sending{Screen: true, Video: videoPayload(r.Screen)})
	}
	return all
}

// What a packet has besides its payload: IPv4, UDP, RTP with an extension of one
// or two elements, the tag of SRTP.
const (
	packetOverhead = 20 + 8 + 12 + 8 + 16
	// videoPacket is the mean payload of a video packet of package load.
	videoPacket = 1150
	// minVoice is the least that a voice packet can carry.
	minVoice = 48
)

// voicePayload is the rate of the payloads of a voice with a rate on the wire.
func voicePayload(wire float64) int {
	return 8 * plan.VoicePackets * max(minVoice, int(wire/8/plan.VoicePackets)-packetOverhead)
}

func videoPayload(wire float64) int {
	return max(int(wire*videoPacket/(videoPacket+packetOverhead)), 1)
}

// enter brings a person into the room and the call, and lets it send.
func (c *crowd) enter(ctx context.Context, a arrival) error {
	ctx, cancel := context.WithTimeout(ctx, enterWithin)
	defer cancel()
	p := a.person
	if a.room.home != "" {
		p.node = a.room.home
	}
	door := c.in.door(a.room.name, p.name)
	err := c.connect(ctx, a.room, p, door)
	if err == nil && !c.cfg.Spread && a.room.home == "" {
		a.room.home, err = c.settle(ctx, a.room, p, door)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	for _, pub := range p.sends {
		if pub.publisher, err = p.client.Publish(ctx, pub.number, pub.what); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

// settle goes to the home of the room if that is elsewhere, as a client does
// that can be redirected.
func (c *crowd) settle(ctx context.Context, r *room, p *person, door door) (home string, err error) {
	home, err = door.Home(ctx, p.node)
	if err != nil || home == p.node || !slices.Contains(c.cfg.Nodes, home) {
		return p.node, err
	}
	p.client.Close()
	p.node = home
	return home, c.connect(ctx, r, p, door)
}

func (c *crowd) connect(ctx context.Context, r *room, p *person, door door) error {
	who, seat, err := door.Seat(ctx, p.node)
	if err != nil {
		return err
	}
	if p.client, err = load.Dial(ctx, load.SocketURL(p.node), c.clock, c.network); err != nil {
		return err
	}
	if err := p.client.Hello(ctx, who); err != nil {
		return err
	}
	if err := p.client.Join(ctx, r.name, seat); err != nil {
		return err
	}
	all := load.Sending{}
	for _, pub := range p.sends {
		all.Voice, all.Video = max(all.Voice, pub.what.Voice), max(all.Video, pub.what.Video)
	}
	if err := door.Call(ctx, p.node, seat, all); err != nil {
		return err
	}
	return p.client.AwaitInCall(ctx, p.client.Session())
}

// listen lets everybody hear all others of the room.
func (c *crowd) listen(ctx context.Context) error {
	type missing struct {
		listener, sender *person
		pub              *publication
	}
	var all []missing
	for _, r := range c.rooms {
		for _, l := range r.people {
			for _, s := range r.people {
				for _, pub := range s.sends {
					if l != s && !l.has(pub) {
						all = append(all, missing{l, s, pub})
					}
				}
			}
		}
	}
	var mu sync.Mutex // guards what people hear
	return load.Each(all, func(_ int, m missing) error {
		ctx, cancel := context.WithTimeout(ctx, enterWithin)
		defer cancel()
		sub, err := m.listener.client.Subscribe(ctx, m.sender.client.Session(), m.pub.number, m.pub.what)
		if err != nil {
			return fmt.Errorf("%s hears %s: %w", m.listener.name, m.sender.name, err)
		}
		mu.Lock()
		defer mu.Unlock()
		m.listener.hears = append(m.listener.hears, &hearing{of: m.pub, sub: sub})
		return nil
	})
}

func (p *person) has(pub *publication) bool {
	return slices.ContainsFunc(p.hears, func(h *hearing) bool { return h.of == pub })
}

// everybody are all people.
func (c *crowd) everybody() []*person {
	var all []*person
	for _, r := range c.rooms {
		all = append(all, r.people...)
	}
	return all
}

// leave takes everybody out of the calls, and ends the rooms. It is
// done whatever has become of the context of the run.
func (c *crowd) leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveWithin)
	defer cancel()
	_ = load.Each(c.everybody(), func(_ int, p *person) error {
		if p.client != nil {
			p.client.Close()
		}
		return nil
	})
	err := load.Each(c.rooms, func(_ int, r *room) error { return c.in.shut(ctx, r.name) })
	return errors.Join(err, c.in.close(ctx))
}
