package media

import (
	"context"
	"fmt"
	"slices"
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
	connected   func()    // runs when the connection is established; may be nil
	teardown    func()    // runs when the PeerConnection is closed
	release     func()    // the last thing of all, see Engine.wg
	recovered   func(any) // is told of a panic in a goroutine of run
	entered     func()    // lets the next connection begin
	timer       *time.Timer
	consent     consent // of the goroutine that attends to it
	networks    candidateNetworks

	once     sync.Once
	closing  chan struct{} // closed when the end begins
	finished chan struct{} // closed when every goroutine of this conn is gone
	wg       sync.WaitGroup

	mu        sync.Mutex
	ending    bool                      // guarded by mu; no more goroutines
	described bool                      // guarded by mu; the description with our candidates is out
	remote    bool                      // guarded by mu; there is a remote description
	early     []webrtc.ICECandidateInit // guarded by mu; came before it
	known     []string                  // guarded by mu; usable candidates of the other side, at most maxCandidates
}

// newConn makes a connection, whose packets go by t, when it is its turn.
func newConn(ctx context.Context, n *network, m *webrtc.MediaEngine, t transit, onCandidate func(Candidate), onClose func(error), recovered func(any)) (*conn, error) {
	entered, err := t.enter(ctx, n.entrance)
	if err != nil {
		return nil, err
	}
	c := &conn{
		entered:     entered,
		onCandidate: onCandidate,
		onClose:     onClose,
		recovered:   recovered,
		networks:    n.named,
		teardown:    func() {},
		release:     func() {},
		closing:     make(chan struct{}),
		finished:    make(chan struct{}),
	}
	pc, err := n.connection(m, t, func() { c.end(ErrConnection) })
	if err != nil {
		entered()
		return nil, err
	}
	c.pc = pc
	c.timer = time.AfterFunc(connectWithin, func() { c.end(ErrConnection) })
	pc.OnICECandidate(c.candidate)
	pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
		switch s {
		case webrtc.PeerConnectionStateConnected:
			c.timer.Stop()
			c.entered()
			if c.connected != nil {
				c.connected()
			}
		case webrtc.PeerConnectionStateFailed, webrtc.PeerConnectionStateClosed:
			c.end(ErrConnection)
		}
	})
	return c, nil
}

// run starts a goroutine that Close waits for, unless the end has begun. A panic
// in it ends the connection, and not the node.
func (c *conn) run(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ending {
		c.wg.Go(func() {
			defer func() {
				if v := recover(); v != nil {
					c.recovered(v)
					c.end(ErrConnection)
				}
			}()
			f()
		})
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
			c.entered()
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
	if !candidateUsable(in.Candidate) || !c.networks.takes(in.Candidate) {
		// Names of multicast DNS and kinds that nobody knows yet are no mistake of
		// the client, nor is its network, and the connection does without them.
		return nil
	}
	init := webrtc.ICECandidateInit{Candidate: in.Candidate}
	c.mu.Lock()
	fresh, err := c.countLocked(in.Candidate)
	if fresh && !c.remote {
		c.early = append(c.early, init)
		fresh = false
	}
	c.mu.Unlock()
	if !fresh {
		return err
	}
	return c.add(init)
}

// countLocked takes a candidate into account; not fresh is one that is known,
// as descriptions repeat what was trickled.
func (c *conn) countLocked(value string) (fresh bool, err error) {
	value = strings.TrimPrefix(value, "candidate:")
	if slices.Contains(c.known, value) {
		return false, nil
	}
	if len(c.known) == maxCandidates {
		return false, fmt.Errorf("%w: more than %d", ErrBadCandidate, maxCandidates)
	}
	c.known = append(c.known, value)
	return true, nil
}

func (c *conn) add(init webrtc.ICECandidateInit) error {
	if err := c.pc.AddICECandidate(init); err != nil {
		if c.ended() {
			return ErrClosed
		}
		return fmt.Errorf("%w: %w", ErrBadCandidate, err)
	}
	return nil
}

// setRemote sets the other side's description, then adds the candidates that
// came before it and those that came with it. Too many of the latter are left
// out.
func (c *conn) setRemote(d webrtc.SessionDescription, candidates []string) error {
	if err := c.pc.SetRemoteDescription(d); err != nil {
		return err
	}
	c.mu.Lock()
	c.remote = true
	waiting := c.early
	c.early = nil
	for _, value := range candidates {
		if !c.networks.takes(value) {
			continue
		}
		if fresh, _ := c.countLocked(value); fresh {
			waiting = append(waiting, webrtc.ICECandidateInit{Candidate: value})
		}
	}
	c.mu.Unlock()
	for _, init := range waiting {
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
