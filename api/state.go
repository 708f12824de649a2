package api

import (
	"context"
	"fmt"
	"time"

	"github.com/talkd/talkd/store"
)

// state is the replicated state: read here, changed through the log only.
type state struct {
	db       *store.DB
	proposer Proposer
	now      func() time.Time
}

// propose commits what a constructor made of the time it is now. What is no
// refusal of the command is the cluster's trouble, and may be tried again.
func (s *state) propose(ctx context.Context, command func(time.Time) store.Command) (store.Result, error) {
	c := command(s.now())
	if err := c.Err(); err != nil {
		return store.Result{}, err
	}
	r, err := s.proposer.Propose(ctx, c)
	if err == nil {
		err = r.Err
	}
	if code := (store.Result{Err: err}).Code(); code == (store.Result{Err: store.ErrRefused}).Code() {
		return r, fmt.Errorf("%w: %s: %w", ErrUnavailable, c, err)
	}
	return r, err
}
