package guesses

import (
	"context"
	"net/netip"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/talkd/talkd/cluster/guesses/internal/guesspb"
	"github.com/talkd/talkd/store"
)

const (
	// maxTold bounds one message, of both ends.
	maxTold = 1000
	// maxUntold bounds what waits while a node is being told.
	maxUntold = 4 * maxTold
	// tellTimeout is for a node that hangs; gossip finds it dead soon.
	tellTimeout = time.Second
)

// peer is a node that is being told something.
type peer struct {
	untold map[key]change // guarded by Book.mu
}

// tell lets all other nodes hear of it. While one is being told, what comes waits for
// the next message to it.
func (b *Book) tell(k key, c change) {
	if b.config.Peers == nil || b.config.Others == nil || !k.network.IsValid() {
		return
	}
	others := b.config.Others()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ctx == nil {
		return
	}
	ctx := b.ctx
	for _, id := range others {
		p := b.peers[id]
		if p == nil {
			p = &peer{untold: make(map[key]change)}
			b.peers[id] = p
			b.tells.Go(func() { b.serve(ctx, id, p) })
		}
		before, waits := p.untold[k]
		if !waits && len(p.untold) >= maxUntold {
			b.metrics.untold.Inc()
			continue
		}
		p.untold[k] = before.add(c)
	}
}

// serve tells one node until nothing is left.
func (b *Book) serve(ctx context.Context, id store.NodeID, p *peer) {
	for {
		news := b.next(id, p)
		if news == nil {
			return
		}
		if err := b.send(ctx, id, news); err != nil {
			b.metrics.untold.Add(float64(len(news.Guesses)))
		}
	}
}

// next takes what is to be told; with nil the node is no peer any more.
func (b *Book) next(id store.NodeID, p *peer) *guesspb.News {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(p.untold) == 0 {
		delete(b.peers, id)
		return nil
	}
	news := &guesspb.News{}
	for k, c := range p.untold {
		delete(p.untold, k)
		network, err := k.network.MarshalBinary()
		if err != nil {
			continue // there is none: it was valid
		}
		news.Guesses = append(news.Guesses, &guesspb.Guess{
			Door: k.door, Subject: k.subject[:], Network: network, Wrong: uint32(c.wrong), Right: c.right,
		})
		if len(news.Guesses) == maxTold {
			break
		}
	}
	return news
}

func (b *Book) send(ctx context.Context, id store.NodeID, news *guesspb.News) error {
	cc, err := b.config.Peers.Dial(id)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, tellTimeout)
	defer cancel()
	_, err = guesspb.NewGuessesClient(cc).Tell(ctx, news)
	return err
}

// Register offers the service by which other nodes tell this one.
func (b *Book) Register(r grpc.ServiceRegistrar) { guesspb.RegisterGuessesServer(r, &server{b: b}) }

type server struct {
	guesspb.UnimplementedGuessesServer
	b *Book
}

// Tell counts what was guessed at another node.
func (s *server) Tell(_ context.Context, news *guesspb.News) (*guesspb.Heard, error) {
	if len(news.GetGuesses()) > maxTold {
		return nil, status.Errorf(codes.InvalidArgument, "%d guesses at once, at most %d", len(news.GetGuesses()), maxTold)
	}
	for _, g := range news.GetGuesses() {
		if k, c, ok := read(g); ok {
			s.b.count(k, c)
		}
	}
	return &guesspb.Heard{}, nil
}

// read is false for what this node has no use for: a door of a newer version, or
// something that no node says.
func read(g *guesspb.Guess) (key, change, bool) {
	_, known := ruleOf(g.GetDoor())
	var p netip.Prefix
	if !known || len(g.GetSubject()) != len(key{}.subject) || p.UnmarshalBinary(g.GetNetwork()) != nil || !p.IsValid() || p != network(p.Addr()) {
		return key{}, change{}, false
	}
	return key{g.GetDoor(), [16]byte(g.GetSubject()), p}, change{right: g.GetRight(), wrong: int(min(g.GetWrong(), maxWrong))}, true
}
