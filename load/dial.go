package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/talkd/talkd/signaling/wire"
)

// How our own client looks for a node: its own first, another each headStart
// later or as soon as one has failed. A hello is said to one at a time, so that
// no two of them hold the session.
const (
	headStart     = 150 * time.Millisecond
	connectWithin = 5 * time.Second
	resumeWithin  = 2 * time.Second
	helloWithin   = 5 * time.Second
)

// dialled is a socket whose greeting is over.
type dialled struct {
	socket *socket
	hello  *wire.HelloReply
	node   string             // base URL
	fresh  bool               // a new session
	seat   wire.RoomSessionID // of a new session
}

// dial goes once round the nodes: own, then the others in any order.
func (p *Person) dial(ctx context.Context, own string, resume string) (*dialled, error) {
	nodes := []string{own}
	for _, i := range rand.Perm(len(p.plan.Nodes)) {
		if n := p.plan.Nodes[i].URL; n != own {
			nodes = append(nodes, n)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type opened struct {
		node   string
		socket *socket
		err    error
	}
	results := make(chan opened, len(nodes))
	started, ended := 0, 0
	start := func() {
		if started == len(nodes) {
			return
		}
		node := nodes[started]
		started++
		go func() { // ends by connectWithin, or with the context
			patient, done := context.WithTimeout(ctx, connectWithin)
			defer done()
			s, err := open(patient, SocketURL(node), nil)
			results <- opened{node, s, err}
		}()
	}
	defer func() { // whoever comes too late
		for ; ended < started; ended++ {
			cancel()
			if o := <-results; o.socket != nil {
				o.socket.close()
			}
		}
	}()
	start()
	next := time.NewTicker(headStart)
	defer next.Stop()
	var failure error
	for ended < len(nodes) {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-next.C:
			start()
		case o := <-results:
			ended++
			if o.err != nil {
				failure = o.err
				start()
				continue
			}
			d, gone, err := p.greet(ctx, o.node, o.socket, resume)
			if err == nil {
				return d, nil
			}
			o.socket.close()
			failure = fmt.Errorf("%s: %w", o.node, err)
			if gone {
				resume = ""
			}
			start()
		}
	}
	return nil, failure
}

// greet takes the session up, or says a full hello. gone says that there is no
// session any more to take up.
func (p *Person) greet(ctx context.Context, node string, s *socket, resume string) (d *dialled, gone bool, err error) {
	if resume != "" {
		patient, cancel := context.WithTimeout(ctx, resumeWithin)
		hello, err := s.greet(patient, wire.Hello{Version: wire.Version, ResumeID: resume, Features: features()})
		cancel()
		if err == nil {
			return &dialled{socket: s, hello: hello, node: node}, false, nil
		}
		var refused *wire.Error
		if !errors.As(err, &refused) || !final(refused) {
			return nil, false, err
		}
	}
	patient, cancel := context.WithTimeout(ctx, helloWithin)
	defer cancel()
	who, seat, err := p.door.Seat(patient, node)
	if err != nil {
		return nil, resume != "", err
	}
	hello, err := s.greet(patient, wire.Hello{Version: wire.Version, Features: features(), Auth: &wire.Auth{URL: who.URL, Params: who.Params}})
	if err != nil {
		return nil, resume != "", err
	}
	return &dialled{socket: s, hello: hello, node: node, fresh: true, seat: seat}, false, nil
}

// final tells whether the answer says that the session is gone; others say that
// this node cannot tell.
func final(e *wire.Error) bool {
	switch e.Code {
	case wire.CodeProcessingFailed, wire.CodeSessionLimit, wire.CodeTooManyRequests:
		return false
	}
	return true
}

func features() []string { return []string{wire.ClientResumeMedia, wire.ClientMove} }
