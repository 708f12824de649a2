package media

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Waiting times before a pull that failed is repeated.
const (
	pullRetryFirst = 250 * time.Millisecond
	pullRetryLast  = 5 * time.Second
)

// pull brings a publication of another node, once for all who listen here. Its
// goroutine (run) repeats it when the way is lost; the feed, and what is
// attached to it, stay meanwhile.
type pull struct {
	e      *Engine
	feed   *feed
	remote Remote
	again  bool // it was there before; of run
	users  int  // guarded by Engine.mu
	ctx    context.Context
	quit   context.CancelFunc // when nobody listens any more
}

// pullLocked returns the pull of a publication with one more user.
func (e *Engine) pullLocked(pub Publication) (*pull, error) {
	if p := e.pulls[pub.ID]; p != nil {
		p.users++
		return p, nil
	}
	p := &pull{e: e, remote: e.remote, users: 1}
	p.ctx, p.quit = context.WithCancel(e.life)
	p.feed = newFeed(pub, e.joinLocked(pub.Group), e.net)
	e.pulls[pub.ID] = p
	e.wg.Go(p.run)
	return p, nil
}

// leave gives one use back. It does not wait for the goroutine.
func (p *pull) leave() {
	p.e.mu.Lock()
	defer p.e.mu.Unlock()
	if p.users--; p.users == 0 {
		p.forgetLocked()
		p.quit()
	}
}

func (p *pull) run() {
	defer func() {
		p.quit()
		p.e.mu.Lock()
		defer p.e.mu.Unlock()
		p.e.leaveLocked(p.feed.pub.Group)
	}()
	wait := pullRetryFirst
	for {
		began := time.Now()
		err := p.once()
		if errors.Is(err, ErrPublisherGone) || errors.Is(err, ErrNotFound) || errors.Is(err, ErrBadPublication) {
			p.forget() // whoever comes next asks anew
			p.feed.finish(err)
			return
		}
		if p.ctx.Err() != nil {
			p.feed.finish(ErrClosed)
			return
		}
		if time.Since(began) > pullRetryLast {
			wait = pullRetryFirst
		}
		p.e.log.Debug("pull is repeated", "publication", p.feed.pub.ID.String(), "peer", string(p.feed.pub.Edge), "error", err)
		select {
		case <-time.After(wait):
		case <-p.ctx.Done():
		}
		wait = min(2*wait, pullRetryLast)
		if p.ctx.Err() != nil {
			p.feed.finish(ErrClosed)
			return
		}
	}
}

// forget lets the next subscriber start a new pull.
func (p *pull) forget() {
	p.e.mu.Lock()
	defer p.e.mu.Unlock()
	p.forgetLocked()
}

func (p *pull) forgetLocked() {
	if p.e.pulls[p.feed.pub.ID] == p {
		delete(p.e.pulls, p.feed.pub.ID)
	}
}

// once pulls until the publication or the way to it ends.
func (p *pull) once() error {
	r, err := p.remote.Pull(p.ctx, p.feed.pub)
	if err != nil {
		return err
	}
	ctx, broken := context.WithCancelCause(p.ctx)
	defer broken(nil)
	var pumps sync.WaitGroup
	served := map[*layer]bool{}
	for _, rl := range r.Layers {
		l, err := p.feed.layer(rl.Track, rl.Layer)
		if err != nil || served[l] {
			continue // not of this publication, or twice
		}
		served[l] = true
		l.up.Store(&uplink{feedback: rl.Feedback, clock: rl.Clock})
		pumps.Go(func() {
			defer func() {
				if v := recover(); v != nil {
					p.e.recovered(v)
					broken(errPanic) // the pull is repeated, as after any loss
				}
			}()
			_ = l.pump(rl.Source)
		})
		if l.attached() && (p.again || !rl.Past) {
			l.keyframe() // who listens already cannot begin without
		}
	}
	p.again = true
	err = p.attend(ctx, r)
	closed := r.Close()
	pumps.Wait()
	return errors.Join(err, closed)
}

// attend forwards data-channel messages until the end, whose cause it returns.
func (p *pull) attend(ctx context.Context, r *Relayed) error {
	for {
		select {
		case m, ok := <-r.Data:
			if !ok {
				r.Data = nil
				continue
			}
			p.feed.data.publish(m)
		case <-r.Done:
			return r.Err()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
