package media

import (
	"testing"
	"time"
)

// A node that stood still does not take that for the silence of others; what is
// not answered adds up, and an answer, or another pair, begins anew.
func TestSilenceAddsUp(t *testing.T) {
	var c consent
	now := time.Now()
	for i, step := range []struct {
		after time.Duration
		a     answers
		want  time.Duration
	}{
		{time.Hour, answers{"a", 1}, 0},
		{time.Second, answers{"a", 2}, 0},
		{time.Second, answers{"a", 2}, time.Second},
		{time.Second, answers{"a", 2}, 2 * time.Second},
		{time.Minute, answers{"a", 2}, 2*time.Second + iceKeepalive},
		{time.Second, answers{"a", 3}, 0},
		{time.Second, answers{"a", 3}, time.Second},
		{time.Second, answers{"b", 3}, 0},
	} {
		now = now.Add(step.after)
		if got := c.look(step.a, now); got != step.want {
			t.Errorf("look %d: %v without an answer, want %v", i, got, step.want)
		}
	}
}
