package rpc

import (
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/talkd/talkd/store"
)

// A removed node reaches no service and no Raft, in either direction, but for
// the calls by which it is told.
func TestRemovedNodes(t *testing.T) {
	ca, book := newCA(t), new(addresses)
	removed, another := ca.node("b"), ca.node("b")
	key := CertificateKey(removed.cert.Leaf)
	var shut atomic.Bool
	a := run(t, "a", ca.node("a"), book, func(c *Config) {
		c.Banished = func(id store.NodeID, k string) bool { return shut.Load() && id == "b" && k == key }
		c.Told = []string{grpc_health_v1.Health_Check_FullMethodName}
	})
	b := run(t, "b", removed, book)
	accepted := make(chan error, 1)
	go func() {
		for {
			conn, err := a.RaftListener().Accept()
			accepted <- err
			if err != nil {
				return
			}
			defer conn.Close()
		}
	}()
	raft := func(from *end) error {
		conn, err := from.DialRaft(within(t), "a")
		if err != nil {
			return err
		}
		defer conn.Close()
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		_, err = conn.Read(make([]byte, 1))
		return err
	}
	stream := func(from *end) error {
		conn, err := from.Dial("a")
		if err != nil {
			t.Fatal(err)
		}
		s, err := grpc_health_v1.NewHealthClient(conn).Watch(within(t), &grpc_health_v1.HealthCheckRequest{})
		if err != nil {
			return err
		}
		_, err = s.Recv()
		return err
	}
	if err := stream(b); err != nil {
		t.Fatalf("before: %v", err)
	}
	<-a.calls.hanging

	shut.Store(true)
	if err := raft(b); !errors.Is(err, io.EOF) {
		t.Errorf("Raft: %v", err)
	}
	if err := stream(b); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a stream: %v", err)
	}
	if err := check(within(t), b, "a"); err != nil {
		t.Errorf("a call that tells: %v", err)
	}
	if _, err := a.DialRaft(within(t), "b"); !errors.Is(err, ErrBanished) {
		t.Errorf("dialling it for Raft: %v", err)
	}
	if err := check(within(t), a, "b"); status.Code(err) != codes.Unavailable {
		t.Errorf("calling it: %v", err)
	}
	a.DropBut(func(id store.NodeID) bool { return id != "b" })

	// Another node of that id is another node.
	b.stop()
	b = run(t, "b", another, book)
	if err := stream(b); err != nil {
		t.Errorf("the next of that id: %v", err)
	}
	<-a.calls.hanging
	if _, err := a.Connected(within(t), "b"); err != nil { // it waits before it tries again
		t.Fatal(err)
	}
	if err := check(within(t), a, "b"); err != nil {
		t.Errorf("calling the next: %v", err)
	}
	a.stop()
	if err := <-accepted; err == nil {
		t.Error("Raft accepted it")
	}
}
