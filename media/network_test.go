package media

import (
	"errors"
	"testing"
)

// A panic in one of its goroutines ends a connection, and nothing else.
func TestPanicEndsTheConnection(t *testing.T) {
	m, err := newMetrics(&Engine{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	n, err := newNetwork(Config{ListenUDP: "127.0.0.1:0"}, Deps{}, m)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = n.Close() }()
	seen, ended := make(chan any, 1), make(chan error, 1)
	known, err := forPublishers(nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := newConn(t.Context(), n, known, &egress{}, nil, func(cause error) { ended <- cause }, func(v any) { seen <- v })
	if err != nil {
		t.Fatal(err)
	}
	c.run(func() { panic("for the test") })
	if v := <-seen; v != "for the test" {
		t.Errorf("recovered %v", v)
	}
	if cause := <-ended; !errors.Is(cause, ErrConnection) {
		t.Errorf("ended by %v", cause)
	}
}
