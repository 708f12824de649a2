package media

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/pion/webrtc/v4"
)

const (
	// connectWithin bounds the time until a connection is established.
	connectWithin = 60 * time.Second
	// gatherWithin bounds how long a description waits for candidates. There are
	// only those of the own sockets, so that this is a matter of milliseconds.
	gatherWithin = 500 * time.Millisecond
)

// conn is what publishers and subscribers have in common: a PeerConnection, its
// candidates, and its end.
type conn struct {
	pc          *webrtc.PeerConnection
	onCandidate func(Candidate)
	onClose     func(error)
	connected   func() // runs when the connection is established; may be nil
	teardown    func() // runs when the PeerConnection is closed
	release     func() // the last thing of all, see Engine.wg
	timer       *time.Timer

	once     sync.Once
	closing  chan struct{} // closed when the end begins
	finished chan struct{} // closed when every goroutine of this conn is gone
	wg       sync.WaitGroup

	mu        sync.Mutex
	ending    bool                      // guarded by mu; no more goroutines
	described bool                      // guarded by mu; the description with our candidates is out
	remote    bool                      // guarded by mu; there is a remote description
	early     []webrtc.ICECandidateInit // guarded by mu; came before it
	seen      int                       // guarded by mu; candidates of the other side
}

func newConn(n *network, f *flavour, onCandidate func(Candidate), onClose func(error)) (*conn, error) {
	c := &conn{
		onCandidate: onCandidate,
		onClose:     onClose,
		teardown:    func() {},
		release:     func() {},
		closing:     make(chan struct{}),
		finished:    make(chan struct{}),
	}
	pc, err := n.connection(f, func() { c.end(ErrConnection) })
	if err != nil {
		return nil, err
	}
	c.pc = pc
	c.timer = time.AfterFunc(connectWithin, func() { c.end(ErrConnection) })
	pc.OnICECandidate(c.candidate)
	pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
		switch s {
		case webrtc.PeerConnectionStateConnected:
			c.timer.Stop()
			if c.connected != nil {
				c.connected()
			}
		case webrtc.PeerConnectionStateFailed, webrtc.PeerConnectionStateClosed:
			c.end(ErrConnection)
		}
	})
	return c, nil
}

// run starts a goroutine that Close waits for, unless the end has begun.
func (c *conn) run(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ending {
		c.wg.Go(f)
	}
	return !c.ending
}

// end closes the connection once; nil means that its owner wished so, and
// nobody needs to be told.
func (c *conn) end(cause error) {
	c.once.Do(func() {
		c.mu.Lock()
		c.ending = true
		c.mu.Unlock()
		close(c.closing)
		// Not here: this may be a callback of the PeerConnection, whose closing
		// waits for callbacks.
		go func() {
			defer c.release()
			c.timer.Stop()
			_ = c.pc.GracefulClose()
			c.teardown()
			c.wg.Wait()
			close(c.finished)
			if cause != nil && c.onClose != nil {
				c.onClose(cause)
			}
		}()
	})
}

// Close ends the connection and returns when all its goroutines are gone.
func (c *conn) Close() error {
	c.end(nil)
	<-c.finished
	return nil
}

func (c *conn) ended() bool {
	select {
	case <-c.closing:
		return true
	default:
		return false
	}
}

// candidate is told of our candidates. Those that the description holds are not
// sent a second time.
func (c *conn) candidate(i *webrtc.ICECandidate) {
	c.mu.Lock()
	described := c.described
	c.mu.Unlock()
	if i == nil || !described || c.onCandidate == nil || c.ended() {
		return
	}
	init := i.ToJSON()
	out := Candidate{Candidate: init.Candidate, SDPMLineIndex: init.SDPMLineIndex}
	if init.SDPMid != nil {
		out.SDPMid = *init.SDPMid
	}
	c.onCandidate(out)
}

// AddCandidate takes a candidate of the other side, also before its description.
func (c *conn) AddCandidate(in Candidate) error {
	if c.ended() {
		return ErrClosed
	}
	if strings.TrimPrefix(in.Candidate, "candidate:") == "" {
		return nil // end of candidates
	}
	if len(in.Candidate) > maxCandidate {
		return fmt.Errorf("%w: %d bytes", ErrBadCandidate, len(in.Candidate))
	}
	init := webrtc.ICECandidateInit{Candidate: in.Candidate}
	c.mu.Lock()
	if c.seen++; c.seen > maxCandidates {
		c.mu.Unlock()
		return fmt.Errorf("%w: more than %d", ErrBadCandidate, maxCandidates)
	}
	if !c.remote {
		c.early = append(c.early, init)
		c.mu.Unlock()
		return nil
	}
	c.mu.Unlock()
	return c.add(init)
}

func (c *conn) add(init webrtc.ICECandidateInit) error {
	if !candidateUsable(init.Candidate) {
		// Names of multicast DNS and kinds that nobody knows yet are no mistake of
		// the client, and the connection does without them.
		return nil
	}
	if err := c.pc.AddICECandidate(init); err != nil {
		if c.ended() {
			return ErrClosed
		}
		return fmt.Errorf("%w: %w", ErrBadCandidate, err)
	}
	return nil
}

// setRemote sets the other side's description, then adds the candidates that
// came before it.
func (c *conn) setRemote(d webrtc.SessionDescription) error {
	if err := c.pc.SetRemoteDescription(d); err != nil {
		return err
	}
	c.mu.Lock()
	c.remote = true
	early := c.early
	c.early = nil
	c.mu.Unlock()
	for _, init := range early {
		if err := c.add(init); err != nil {
			return err
		}
	}
	return nil
}

// setLocal sets our description and returns it with the candidates.
func (c *conn) setLocal(ctx context.Context, d webrtc.SessionDescription) (string, error) {
	gathered := webrtc.GatheringCompletePromise(c.pc)
	if err := c.pc.SetLocalDescription(d); err != nil {
		return "", err
	}
	timer := time.NewTimer(gatherWithin)
	defer timer.Stop()
	select {
	case <-gathered:
	case <-timer.C:
	case <-c.closing:
		return "", ErrClosed
	case <-ctx.Done():
		return "", ctx.Err()
	}
	c.mu.Lock()
	c.described = true
	c.mu.Unlock()
	// Read after the flag: what was found in between is in the description and
	// told as well, rather than in neither.
	l := c.pc.LocalDescription()
	if l == nil {
		return "", ErrClosed
	}
	return l.SDP, nil
}
