package inspect

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/talkd/talkd/store"
)

// serve runs one node's service over an in-memory connection.
func serve(t *testing.T, i *Inspector) grpc.ClientConnInterface {
	t.Helper()
	l := bufconn.Listen(1 << 16)
	s := grpc.NewServer()
	i.Register(s)
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	conn, err := grpc.NewClient("passthrough:node", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); s.Stop(); <-done })
	return conn
}

func local(node, from string, now time.Time) Local {
	return Local{Report: func() *ReportReply {
		return &ReportReply{
			Edges:  []*Edge{{Room: "a", Sessions: 2, Publishers: 1}, {Room: "only-" + node, Sessions: 1}},
			Relays: []*Relay{{Room: "a", From: from, Tracks: 2, Bps: 8, Lost: 1}},
		}
	}, Condition: func() *ConditionReply {
		return &ConditionReply{Now: now.UnixNano(), DiskFree: 1, DiskSize: 2, CertificateExpires: 3}
	}, Told: func(*OpEvent) {}}
}

func TestGatherMergesWhatEachNodeKnows(t *testing.T) {
	peer := serve(t, New("n2", local("n2", "n1", time.Now()), nil, nil, slog.New(slog.DiscardHandler)))
	dial := func(id store.NodeID) (grpc.ClientConnInterface, error) {
		if id == "n3" {
			return nil, errors.New("unreachable")
		}
		return peer, nil
	}
	i := New("n1", local("n1", "n2", time.Now()), func() []store.NodeID { return []store.NodeID{"n3", "n2"} }, dial, slog.New(slog.DiscardHandler))

	want := &Room{
		Edges:  []EdgeView{{"n1", 2, 1, 0}, {"n2", 2, 1, 0}},
		Relays: []RelayView{{"n1", "n2", 2, 8, 1}, {"n2", "n1", 2, 8, 1}},
	}
	all := i.Gather(t.Context())
	if diff := cmp.Diff(want, all["a"]); diff != "" || len(all) != 3 {
		t.Errorf("%d rooms, %s", len(all), diff)
	}
	one := i.Gather(t.Context(), "a")
	if diff := cmp.Diff(want, one["a"]); diff != "" || len(one) != 1 {
		t.Errorf("%d rooms, %s", len(one), diff)
	}
}

// A node's clock is compared with that of the node which asks; one that does
// not answer is left out, and nobody is asked again soon.
func TestConditions(t *testing.T) {
	peer := serve(t, New("n2", local("n2", "", time.Now().Add(time.Hour)), nil, nil, slog.New(slog.DiscardHandler)))
	dials := 0
	dial := func(id store.NodeID) (grpc.ClientConnInterface, error) {
		if id == "n3" {
			return nil, errors.New("unreachable")
		}
		dials++
		return peer, nil
	}
	i := New("n1", local("n1", "", time.Now()), func() []store.NodeID { return []store.NodeID{"n3", "n2"} }, dial, slog.New(slog.DiscardHandler))
	for range 3 {
		all := i.Conditions(t.Context())
		if len(all) != 2 || all["n1"] != (Condition{DiskFree: 1, DiskSize: 2, CertificateExpires: time.Unix(3, 0).UTC()}) {
			t.Errorf("%+v", all)
		}
		if off := all["n2"].ClockOffset; off < 59*time.Minute || off > 61*time.Minute {
			t.Errorf("the clock of n2 is off by %v", off)
		}
	}
	if dials != 1 {
		t.Errorf("asked %d times", dials)
	}
	if off, ok := i.ClockOffset(t.Context(), "n2"); !ok || off < 59*time.Minute || off > 61*time.Minute {
		t.Errorf("the clock of n2 is off by %v, %v", off, ok)
	}
	if _, ok := i.ClockOffset(t.Context(), "n3"); ok {
		t.Error("a clock of nobody")
	}
}

// What another node tells is bounded.
func TestTell(t *testing.T) {
	var told []*OpEvent
	l := local("n2", "", time.Now())
	l.Told = func(e *OpEvent) { told = append(told, e) }
	peer := serve(t, New("n2", l, nil, nil, slog.New(slog.DiscardHandler)))
	dial := func(store.NodeID) (grpc.ClientConnInterface, error) { return peer, nil }
	i := New("n1", local("n1", "", time.Now()), func() []store.NodeID { return []store.NodeID{"n2"} }, dial, slog.New(slog.DiscardHandler))
	for _, e := range []*OpEvent{{Op: "n1-a", Kind: "drain", Detail: "x"}, {Op: "n1-a"}, {Kind: "drain"}, {Op: "n1-a", Kind: strings.Repeat("x", maxText+1)}} {
		i.TellAll(t.Context(), e)
	}
	if len(told) != 1 || told[0].Detail != "x" {
		t.Errorf("%v", told)
	}
}

// All nodes look at the same time; one that cannot be asked is there without an answer.
func TestExamineAll(t *testing.T) {
	both := make(chan struct{}, 2)
	looks := func(node string) Local {
		l := local(node, "", time.Now())
		l.Examine = func(ctx context.Context) *ExamineReply {
			both <- struct{}{}
			for len(both) < 2 && ctx.Err() == nil {
				runtime.Gosched()
			}
			return &ExamineReply{Findings: []*Finding{{Check: node}}}
		}
		return l
	}
	peer := serve(t, New("n2", looks("n2"), nil, nil, slog.New(slog.DiscardHandler)))
	dial := func(id store.NodeID) (grpc.ClientConnInterface, error) {
		if id == "n3" {
			return nil, errors.New("unreachable")
		}
		return peer, nil
	}
	i := New("n1", looks("n1"), func() []store.NodeID { return []store.NodeID{"n3", "n2"} }, dial, slog.New(slog.DiscardHandler))
	all := i.ExamineAll(t.Context())
	if len(all) != 3 || all["n3"] != nil || len(all["n1"].GetFindings()) != 1 || all["n2"].GetFindings()[0].GetCheck() != "n2" {
		t.Errorf("%v", all)
	}
}
