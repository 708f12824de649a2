// Package call sends voice through each node and hears it there, and at the next node:
// for package doctor.
//
//	speaker ──WebRTC──> node ──WebRTC──> listener          the loop, by UDP
//	                      └──relay──> next node ──> listener
//	speaker ──ICE-TCP─> node                               only whether it connects
//	speaker ──TURN server──> node                          the same
//
// Speakers and listeners are probes of package signaling: they meet nobody else. Each node
// has three goroutines, and Look waits for all.
package call

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/talkd/talkd/doctor"
	"github.com/talkd/talkd/load"
	"github.com/talkd/talkd/signaling/wire"
)

// Node is where people are served: a node by its id, or by an address of it.
type Node struct {
	Name string
	URL  string // base URL
}

// Plan is what a look needs.
type Plan struct {
	Nodes  []Node
	Room   string
	Ticket string
	// TURN are servers that relay, as far as has been seen; nil: there are none.
	TURN *doctor.TURN
	// HTTP opens the WebSockets; nil: the default.
	HTTP *http.Client
}

// voice is what a speaker says, in bits a second.
const voice = 32_000

const (
	listening   = time.Second     // for how long voice is heard
	connectTime = 8 * time.Second // how long a connection may take
	badDelay    = 150 * time.Millisecond
	badLoss     = 0.02
)

// place is one node in a look.
type place struct {
	Node
	number   uint16
	speaker  *load.Client
	speaking chan struct{} // closed when the speaker publishes, or never will
	ok       bool          // it publishes; set before speaking is closed
	found    []doctor.Finding
}

// look is one that is under way.
type look struct {
	Plan
	clock  load.Clock
	params json.RawMessage
}

// Look tells of each node whether media come through.
func Look(ctx context.Context, plan Plan) []doctor.Finding {
	params, err := json.Marshal(map[string]string{"ticket": plan.Ticket})
	if err != nil {
		return []doctor.Finding{{Check: doctor.CheckMedia, Result: doctor.Failed, Text: err.Error()}}
	}
	l := &look{Plan: plan, clock: load.NewClock(), params: params}
	places := make([]*place, len(plan.Nodes))
	for i, n := range plan.Nodes {
		places[i] = &place{Node: n, number: uint16(i), speaking: make(chan struct{})}
	}
	var wg sync.WaitGroup
	for i, p := range places {
		before := places[(i+len(places)-1)%len(places)]
		wg.Go(func() { l.at(ctx, p, before) })
	}
	wg.Wait()
	var found []doctor.Finding
	for _, p := range places {
		if p.speaker != nil {
			p.speaker.Close()
		}
		found = append(found, p.found...)
	}
	return found
}

// at looks at one node. The speaker stays until all are done: the next node listens to it.
func (l *look) at(ctx context.Context, p, before *place) {
	tcp, relayed := make(chan error, 1), make(chan error, 1)
	go func() { tcp <- l.connect(ctx, p, load.Network{TCP: true}) }() // are waited for
	go func() { relayed <- l.connectRelayed(ctx, p) }()
	way, err := l.speak(ctx, p)
	p.ok = err == nil
	close(p.speaking)
	byTCP := <-tcp
	l.judgeRelayed(p, <-relayed)
	switch {
	case err != nil:
		p.failed(err, byTCP)
		return
	case byTCP != nil:
		p.add(doctor.Warning, "not by TCP: "+describe(byTCP, "tcp"), "let TCP through to the media port too (media.listen): people in networks that let no UDP out need it")
	}
	l.hear(ctx, p, p, "voice went to "+p.Name+" and came back, "+way.String())
	if before == p {
		return
	}
	select {
	case <-before.speaking:
	case <-ctx.Done():
		return
	}
	if before.ok {
		l.hear(ctx, p, before, "voice went from "+before.Name+" to "+p.Name)
	}
}

// enter brings a probe into the room.
func (l *look) enter(ctx context.Context, n Node, via load.Network) (*load.Client, error) {
	via.HTTP = l.HTTP
	c, err := load.Dial(ctx, load.SocketURL(n.URL), l.clock, via)
	if err != nil {
		return nil, err
	}
	if err = c.Hello(ctx, load.Credentials{Type: wire.AuthProbe, Params: l.params}); err == nil {
		if err = c.Join(ctx, l.Room, ""); err == nil {
			err = c.AwaitInCall(ctx, c.Session())
		}
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (l *look) speak(ctx context.Context, p *place) (load.Way, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	c, err := l.enter(ctx, p.Node, load.Network{Any: true})
	if err != nil {
		return load.Way{}, err
	}
	p.speaker = c
	pub, err := c.Publish(ctx, p.number, load.Sending{Voice: voice})
	if err != nil {
		return load.Way{}, err
	}
	way, _ := pub.Way()
	return way, nil
}

// connectRelayed tells why no connection by TURN servers comes about.
func (l *look) connectRelayed(ctx context.Context, p *place) error {
	if l.TURN == nil {
		return nil
	}
	return l.connect(ctx, p, load.Network{Relays: &load.Relays{URIs: l.TURN.URIs, Username: l.TURN.Login.Username, Password: l.TURN.Login.Password}})
}

func (l *look) judgeRelayed(p *place, err error) {
	var lost *load.Unconnected
	switch {
	case l.TURN == nil:
	case err == nil:
		p.add(doctor.OK, "media come by the TURN server", "")
	case errors.As(err, &lost):
		p.add(doctor.Failed, "the TURN server does not bring media to "+offered(lost.Offered, "udp"),
			"let it send there (coturn: allowed-peer-ip, denied-peer-ip), and let its relay addresses through to the media port (media.listen)")
	}
	// All else is said of the way without it.
}

// connect tells why no connection comes about.
func (l *look) connect(ctx context.Context, p *place, via load.Network) error {
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	c, err := l.enter(ctx, p.Node, via)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Publish(ctx, p.number, load.Sending{Voice: voice})
	return err
}

// hear listens at one node to the speaker of another, or of the same.
func (l *look) hear(ctx context.Context, at, of *place, done string) {
	patient, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	c, err := l.enter(patient, at.Node, load.Network{Any: true})
	if err != nil {
		at.failed(err, err)
		return
	}
	defer c.Close()
	sub, err := c.Subscribe(patient, of.speaker.Session(), of.number, load.Sending{Voice: voice})
	if err != nil {
		do := "look into the log of " + at.Name
		if at != of {
			do = "let UDP through between the nodes: relay.listen, and relay.advertise if there is NAT between them"
		}
		at.add(doctor.Failed, "nothing is heard at "+at.Name+" of who speaks at "+of.Name+": "+describe(err, "udp"), do)
		return
	}
	sub.Audio.Open(l.clock())
	if err := load.Wait(ctx, listening); err != nil {
		at.add(doctor.Failed, "stopped before the end: "+err.Error(), "")
		return
	}
	heard(at, done, sub.Audio.Counts(0))
}

// heard judges what came.
func heard(at *place, done string, c load.Counts) {
	late, missing := c.Delays.Quantile(0.5), 0.0
	if all := c.Received + c.Gaps; all > 0 {
		missing = float64(c.Gaps) / float64(all)
	}
	text := fmt.Sprintf("%s: %v late", done, late.Round(100*time.Microsecond))
	switch {
	case missing > badLoss:
		at.add(doctor.Warning, fmt.Sprintf("%s, %.1f %% of the packets are missing", text, 100*missing), "the line between here and the node, or between the nodes, is too full or broken")
	case late > badDelay:
		at.add(doctor.Warning, text, "people talk at the same time when it takes so long: use a node that is nearer")
	default:
		at.add(doctor.OK, text+", nothing is missing", "")
	}
}

func (p *place) add(r doctor.Result, text, do string) {
	p.found = append(p.found, doctor.Finding{Check: doctor.CheckMedia, About: p.Name, Result: r, Text: text, Do: do})
}

// failed says why nobody can speak by UDP; byTCP is why not by TCP either, nil if that works.
func (p *place) failed(err, byTCP error) {
	var refused *wire.Error
	if errors.As(err, &refused) {
		text, do := refusal(refused)
		p.add(doctor.Failed, text, do)
		return
	}
	var lost *load.Unconnected
	if !errors.As(err, &lost) {
		p.add(doctor.Failed, "no call: "+err.Error(), "see what the checks of its address say")
		return
	}
	where := "nowhere"
	if len(lost.Offered) > 0 {
		where = offered(lost.Offered, "udp")
	}
	text := "media by UDP do not arrive at " + where
	const do = "open this port for %s in all firewalls; if the address is not one that people reach, set media.advertise to the public one"
	if byTCP == nil {
		p.add(doctor.Warning, text+", only by TCP, which is worse", fmt.Sprintf(do, "UDP"))
		return
	}
	p.add(doctor.Failed, text+", nor by TCP: nobody hears or sees anybody", fmt.Sprintf(do, "UDP and TCP"))
}

// refusal says what an answer of the node means.
func refusal(e *wire.Error) (text, do string) {
	switch e.Code {
	case wire.CodeClientType:
		return "this node is older and lets no doctor in", "upgrade it"
	case wire.CodeInvalidTicket, wire.CodeTokenExpired:
		return "the node does not know the ticket of the node that was asked", "is it of the same cluster, and does its clock go right?"
	case wire.CodeClusterFull, wire.CodeSessionLimit:
		return "the node is full: it lets nobody in", "add a node"
	}
	return "the node refuses: " + e.Error(), "look into its log"
}

// describe says where no connection by a protocol led to.
func describe(err error, protocol string) string {
	var lost *load.Unconnected
	if errors.As(err, &lost) {
		if where := offered(lost.Offered, protocol); where != "" {
			return "no connection to " + where
		}
		return "the node offers no address"
	}
	return err.Error()
}

// offered lists the addresses of a protocol.
func offered(ways []load.Way, protocol string) string {
	var texts []string
	for _, w := range ways {
		if w.Protocol == protocol {
			texts = append(texts, w.Address)
		}
	}
	return strings.Join(texts, ", ")
}
