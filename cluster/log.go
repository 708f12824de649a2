package cluster

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// Keys of log lines. "node" is this node, which every line has.
const (
	keyPeer = "peer"
	keyRoom = "room"
)

// raftLog writes Raft's log lines to ours. Raft calls errors what a cluster
// goes through each time a node restarts, so they become warnings.
type raftLog struct {
	log  *slog.Logger
	name string
}

var _ hclog.Logger = raftLog{}

func (l raftLog) level(level hclog.Level) slog.Level {
	switch {
	case level >= hclog.Warn:
		return slog.LevelWarn
	case level == hclog.Info:
		return slog.LevelInfo
	}
	return slog.LevelDebug
}

func (l raftLog) Log(level hclog.Level, msg string, args ...any) {
	ctx, at := context.Background(), l.level(level)
	if level == hclog.Trace || !l.log.Enabled(ctx, at) {
		return
	}
	for i, a := range args {
		if f, ok := a.(hclog.Format); ok && len(f) > 0 {
			args[i] = fmt.Sprintf(fmt.Sprint(f[0]), f[1:]...)
		}
	}
	l.log.Log(ctx, at, msg, args...) //nolint:sloglint // the text is Raft's
}

func (l raftLog) Trace(string, ...any)          {}
func (l raftLog) Debug(msg string, args ...any) { l.Log(hclog.Debug, msg, args...) }
func (l raftLog) Info(msg string, args ...any)  { l.Log(hclog.Info, msg, args...) }
func (l raftLog) Warn(msg string, args ...any)  { l.Log(hclog.Warn, msg, args...) }
func (l raftLog) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }

func (l raftLog) enabled(at slog.Level) bool { return l.log.Enabled(context.Background(), at) }
func (l raftLog) IsTrace() bool              { return false }
func (l raftLog) IsDebug() bool              { return l.enabled(slog.LevelDebug) }
func (l raftLog) IsInfo() bool               { return l.enabled(slog.LevelInfo) }
func (l raftLog) IsWarn() bool               { return l.enabled(slog.LevelWarn) }
func (l raftLog) IsError() bool              { return l.enabled(slog.LevelWarn) }

func (l raftLog) ImpliedArgs() []any { return nil }
func (l raftLog) Name() string       { return l.name }

func (l raftLog) With(args ...any) hclog.Logger {
	return raftLog{log: l.log.With(args...), name: l.name}
}

func (l raftLog) Named(name string) hclog.Logger      { return raftLog{log: l.log, name: name} }
func (l raftLog) ResetNamed(name string) hclog.Logger { return raftLog{log: l.log, name: name} }
func (l raftLog) SetLevel(hclog.Level)                {} // slog's handler decides
func (l raftLog) GetLevel() hclog.Level               { return hclog.Debug }

func (l raftLog) StandardLogger(o *hclog.StandardLoggerOptions) *log.Logger {
	return log.New(l.StandardWriter(o), "", 0)
}

func (l raftLog) StandardWriter(*hclog.StandardLoggerOptions) io.Writer {
	return gossipLog{log: l.log}
}

// gossipLog takes memberlist's lines, "[LEVEL] memberlist: text". What it
// warns of is every packet that got lost; our own lines say who died.
type gossipLog struct{ log *slog.Logger }

func newGossipLog(l *slog.Logger) *log.Logger { return log.New(gossipLog{log: l}, "", 0) }

func (g gossipLog) Write(line []byte) (int, error) {
	level := slog.LevelDebug
	if bytes.HasPrefix(line, []byte("[ERR]")) {
		level = slog.LevelInfo
	}
	text := line
	if _, after, ok := bytes.Cut(text, []byte("memberlist: ")); ok {
		text = after
	}
	// Addresses are left out.
	text, _, _ = bytes.Cut(text, []byte(" from="))
	g.log.Log(context.Background(), level, "gossip", "text", string(bytes.TrimSpace(text)))
	return len(line), nil
}
