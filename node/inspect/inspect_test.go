package inspect

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"testing"

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

func report(node, from string) func() *ReportReply {
	return func() *ReportReply {
		return &ReportReply{
			Edges:  []*Edge{{Room: "a", Sessions: 2, Publishers: 1}, {Room: "only-" + node, Sessions: 1}},
			Relays: []*Relay{{Room: "a", From: from, Tracks: 2, Bps: 8, Lost: 1}},
		}
	}
}

func TestGatherMergesWhatEachNodeKnows(t *testing.T) {
	peer := serve(t, New("n2", report("n2", "n1"), nil, nil, slog.New(slog.DiscardHandler)))
	dial := func(id store.NodeID) (grpc.ClientConnInterface, error) {
		if id == "n3" {
			return nil, errors.New("unreachable")
		}
		return peer, nil
	}
	i := New("n1", report("n1", "n2"), func() []store.NodeID { return []store.NodeID{"n3", "n2"} }, dial, slog.New(slog.DiscardHandler))

	want := &Room{
		Edges:  []EdgeView{{"n1", 2, 1, 0}, {"n2", 2, 1, 0}},
		Relays: []RelayView{{"n1", "n2", 2, 8, 1}, {"n2", "n1", 2, 8, 1}},
	}
	all := i.Gather(t.Context(), "")
	if diff := cmp.Diff(want, all["a"]); diff != "" || len(all) != 3 {
		t.Errorf("%d rooms, %s", len(all), diff)
	}
	one := i.Gather(t.Context(), "a")
	if diff := cmp.Diff(want, one["a"]); diff != "" || len(one) != 1 {
		t.Errorf("%d rooms, %s", len(one), diff)
	}
}
