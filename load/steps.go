package load

import (
	"sync"
	"time"
)

// Steps are when a connection had come how far; 0: not yet.
type Steps struct {
	Asked     time.Duration // for an offer, or with one
	Described time.Duration // by the node's description
	Reached   time.Duration // ICE has found the way
	Up        time.Duration // DTLS has the keys
}

// stepLog notes the first time of each step.
type stepLog struct {
	now Clock

	mu    sync.Mutex
	steps Steps // guarded by mu
}

func (l *stepLog) note(step func(*Steps) *time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at := step(&l.steps); *at == 0 {
		*at = l.now()
	}
}

func stepAsked(s *Steps) *time.Duration     { return &s.Asked }
func stepDescribed(s *Steps) *time.Duration { return &s.Described }
func stepReached(s *Steps) *time.Duration   { return &s.Reached }
func stepUp(s *Steps) *time.Duration        { return &s.Up }

// Steps tells how far the connection has come.
func (l *stepLog) Steps() Steps {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.steps
}
