package signaling

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/talkd/talkd/signaling/internal/signalpb"
)

// farNode answers a front after a while, well or with an error, and then says
// nothing.
type farNode struct {
	signalpb.SignalingClient
	grpc.BidiStreamingClient[signalpb.FrontFrame, signalpb.FrontFrame]
	ctx   context.Context
	after time.Duration
	err   error
	asked int
}

func (f *farNode) Front(ctx context.Context, _ ...grpc.CallOption) (grpc.BidiStreamingClient[signalpb.FrontFrame, signalpb.FrontFrame], error) {
	f.ctx = ctx
	return f, nil
}

func (f *farNode) Send(*signalpb.FrontFrame) error { return nil }

func (f *farNode) Recv() (*signalpb.FrontFrame, error) {
	if f.asked++; f.asked > 1 {
		<-f.ctx.Done()
		return nil, f.ctx.Err()
	}
	time.Sleep(f.after) // of the bubble
	return &signalpb.FrontFrame{Body: &signalpb.FrontFrame_Opened{Opened: &signalpb.FrontOpened{Outcome: signalpb.Outcome_OUTCOME_OK}}}, f.err
}

// A front is used if its answer comes in time, and otherwise not at all: the
// session may live somewhere else then.
func TestFrontInTime(t *testing.T) {
	for after, inTime := range map[time.Duration]bool{frontPatience - 1: true, frontPatience + 1: false} {
		synctest.Test(t, func(t *testing.T) {
			h := lonely(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			c := h.newConn(nil)
			far := &farNode{after: after}
			opened, err := h.openFront(ctx, cancel, c, far, "n2", nil)
			time.Sleep(time.Second) // and the answer has come in any case
			if inTime != (err == nil) || inTime != (opened != nil) || inTime != (c.fronted() != nil) {
				t.Errorf("after %v: %v, %v, in use: %v", after, opened, err, c.fronted() != nil)
			}
			if cancel(); inTime {
				return // the end of the front ends the connection
			}
			synctest.Wait()
			if c.ending() {
				t.Error("the connection was closed with a front that was given up")
			}
		})
	}
}

// What gRPC says holds addresses, which are not logged.
func TestFrontLogsNoAddress(t *testing.T) {
	var log bytes.Buffer
	h := lonely(t)
	h.log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	far := &farNode{err: status.Error(codes.Unavailable, "dial tcp 192.0.2.7:8082: connection refused")}
	if _, err := h.openFront(ctx, cancel, h.newConn(nil), far, "n2", nil); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("opened by an error: %v", err)
	}
	if s := log.String(); strings.Contains(s, "192.0.2.7") || !strings.Contains(s, "Unavailable") {
		t.Errorf("logged %q", s)
	}
}
