package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// service runs until its context ends and returns when its goroutines are gone.
type service struct {
	name string
	run  func(context.Context) error
}

// stage is a set of services that start and stop together.
type stage struct {
	services []service
	// started is called when the services run; the next stage waits for it.
	started func(context.Context) error
	// stopping is called before the services are stopped.
	stopping func()
}

// runStages starts the stages one after the other and, when ctx ends or a
// service fails, stops them in reverse order: a stage may use what was started
// before it for as long as it runs. It returns the first failure, or why ctx
// ended.
func runStages(ctx context.Context, stages ...stage) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)

	var running []func()
	defer func() {
		for i := len(running) - 1; i >= 0; i-- {
			running[i]()
		}
	}()
	for _, st := range stages {
		running = append(running, st.start(ctx, fail))
		if st.started == nil {
			continue
		}
		if err := st.started(ctx); err != nil {
			fail(err)
			break
		}
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

// start runs the services, each in a goroutine, and returns what stops them.
// They do not end with ctx but when their turn comes.
func (st stage) start(ctx context.Context, fail context.CancelCauseFunc) (stop func()) {
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	for _, s := range st.services {
		wg.Go(func() {
			err := s.run(own)
			if own.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
				return
			}
			if err == nil {
				err = errors.New("ended by itself")
			}
			fail(fmt.Errorf("%s: %w", s.name, err))
		})
	}
	return func() {
		if st.stopping != nil {
			st.stopping()
		}
		cancel()
		wg.Wait()
	}
}
