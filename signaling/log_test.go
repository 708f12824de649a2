package signaling_test

import (
	"bytes"
	"log/slog"
	"regexp"
	"sync"
	"testing"
)

// private is what the people of these tests are called, say and prove themselves with: names, numbers,
// texts, SDP, tickets, tokens, secrets.
var private = regexp.MustCompile(`(?i)\b(alice|bob|carl|carol|dave|dora|eve|mallory|lunch|budget|renamed)\b|our room|hello to|ticket-of|nonsense|\+49|elsewhere\.example|v=0|eyJ|(0123456789){2}|` +
	regexp.QuoteMeta(secret) + `|` + regexp.QuoteMeta(internalSecret))

// safeLog is what nodes wrote to their logs.
type safeLog struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (l *safeLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// watchLog is a log for the nodes of a test, in which nothing private may be when the test ends. Every
// test with a cluster is also one of that.
func watchLog(t testing.TB) *slog.Logger {
	l := new(safeLog)
	t.Cleanup(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		for line := range bytes.Lines(l.b.Bytes()) {
			if what := private.Find(line); what != nil {
				t.Errorf("the log tells %q: %s", what, line)
			}
		}
	})
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
