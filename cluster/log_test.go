package cluster

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
)

// leafLog collects lines without their time.
func leafLog(level slog.Level) (*slog.Logger, *bytes.Buffer) {
	out := new(bytes.Buffer)
	return slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	})), out
}

func TestRaftLog(t *testing.T) {
	l, out := leafLog(slog.LevelDebug)
	r := raftLog{log: l, name: "raft"}
	tests := []struct {
		write func(hclog.Logger)
		want  string
	}{
		{func(r hclog.Logger) { r.Trace("x") }, ""},
		{func(r hclog.Logger) { r.Log(hclog.Trace, "x") }, ""},
		{func(r hclog.Logger) { r.Debug("votes", "needed", 2) }, "level=DEBUG msg=votes needed=2\n"},
		{func(r hclog.Logger) { r.Log(hclog.NoLevel, "x") }, "level=DEBUG msg=x\n"},
		{func(r hclog.Logger) { r.Info("elected") }, "level=INFO msg=elected\n"},
		{func(r hclog.Logger) { r.Warn("no contact") }, "level=WARN msg=\"no contact\"\n"},
		{func(r hclog.Logger) { r.Error("no contact") }, "level=WARN msg=\"no contact\"\n"},
		{func(r hclog.Logger) { r.With("a", 1).Info("x", "b", 2) }, "level=INFO msg=x a=1 b=2\n"},
		{func(r hclog.Logger) { r.Named("y").ResetNamed("z").Info("x") }, "level=INFO msg=x\n"},
		{func(r hclog.Logger) { r.Info("x", "took", hclog.Fmt("%d ms of %d", 3, 4)) }, "level=INFO msg=x took=\"3 ms of 4\"\n"},
		{func(r hclog.Logger) { r.Info("x", "odd") }, "level=INFO msg=x !BADKEY=odd\n"},
	}
	for _, tt := range tests {
		out.Reset()
		tt.write(r)
		if got := out.String(); got != tt.want {
			t.Errorf("wrote %q, want %q", got, tt.want)
		}
	}
	if r.Named("y").Name() != "y" || r.ResetNamed("z").Name() != "z" || r.With("a", 1).Name() != "raft" {
		t.Error("names are lost")
	}
}

func TestRaftLogLevels(t *testing.T) {
	for _, tt := range []struct {
		level                    slog.Level
		debug, info, warn, error bool
	}{
		{slog.LevelDebug, true, true, true, true},
		{slog.LevelInfo, false, true, true, true},
		{slog.LevelWarn, false, false, true, true},
		{slog.LevelError, false, false, false, false},
	} {
		l, out := leafLog(tt.level)
		r := raftLog{log: l}
		if r.IsTrace() || r.IsDebug() != tt.debug || r.IsInfo() != tt.info || r.IsWarn() != tt.warn || r.IsError() != tt.error {
			t.Errorf("%v: the wrong levels are on", tt.level)
		}
		r.Debug("d")
		r.Info("i")
		r.Error("e")
		if got := strings.Count(out.String(), "\n"); got != map[bool]int{true: 1}[tt.debug]+map[bool]int{true: 1}[tt.info]+map[bool]int{true: 1}[tt.warn] {
			t.Errorf("%v: %d lines", tt.level, got)
		}
	}
}

// memberlist's lines arrive without their prefix and without addresses.
func TestGossipLog(t *testing.T) {
	l, out := leafLog(slog.LevelDebug)
	g := newGossipLog(l)
	for line, want := range map[string]string{
		"[ERR] memberlist: failed to receive: EOF from=10.0.0.1:7946": "level=INFO msg=gossip text=\"failed to receive: EOF\"\n",
		"[WARN] memberlist: refuting a suspect message":               "level=DEBUG msg=gossip text=\"refuting a suspect message\"\n",
		"[DEBUG] memberlist: stream connection from=10.0.0.1:1":       "level=DEBUG msg=gossip text=\"stream connection\"\n",
		"no prefix": "level=DEBUG msg=gossip text=\"no prefix\"\n",
		"":          "level=DEBUG msg=gossip text=\"\"\n",
	} {
		out.Reset()
		g.Print(line)
		if got := out.String(); got != want {
			t.Errorf("wrote %q, want %q", got, want)
		}
	}
	out.Reset()
	raftLog{log: l}.StandardLogger(nil).Print("[ERR] x")
	if !strings.Contains(out.String(), "level=INFO") {
		t.Errorf("wrote %q", out)
	}
}
