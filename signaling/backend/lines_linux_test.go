package backend

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"

	"github.com/talkd/talkd/signaling/quiet"
)

// gathered holds what is written back for as long as it has a buffer.
type gathered struct {
	net.Conn
	held *bytes.Buffer
}

func (g *gathered) Write(p []byte) (int, error) {
	if g.held != nil {
		return g.held.Write(p)
	}
	return g.Conn.Write(p)
}

// TestLinesSpoken: what an instance says while nobody asks, with an answer or later, is
// no answer to the next question.
func TestLinesSpoken(t *testing.T) {
	certified := httptest.NewTLSServer(nil)
	certified.Close()
	roots := x509.NewCertPool()
	roots.AddCert(certified.Certificate())
	for _, test := range []struct {
		name, scheme string
		later        bool
	}{
		{"at once", "http", false}, {"later", "http", true},
		{"at once, TLS", "https", false}, {"later, TLS", "https", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			answered := make(chan struct{})
			go func() {
				for {
					there, err := listener.Accept()
					if err != nil {
						return
					}
					go speakTwice(there, test.scheme == "https", certified.TLS, test.later, answered)
				}
			}()
			l := newLines(Config{RootCAs: roots, MaxConns: 1})
			defer func() { l.close(); _ = listener.Close() }()
			for _, path := range []string{"first", "next"} {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, test.scheme+"://"+listener.Addr().String()+"/"+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				r, err := l.ask(req, 100)
				if err != nil || string(r.body) != path {
					t.Errorf("%s: %q, %v", path, r.body, err)
				}
				if !test.later || path != "first" {
					continue
				}
				close(answered)
				for _, ln := range l.host(req.URL).idle {
					conn := ln.conn
					if secured, ok := conn.(*tls.Conn); ok {
						conn = secured.NetConn()
					}
					for !quiet.Heard(conn) {
						runtime.Gosched()
					}
				}
			}
		})
	}
}

// speakTwice answers one question, and says something more with the answer or later.
func speakTwice(there net.Conn, secure bool, config *tls.Config, later bool, answered <-chan struct{}) {
	defer func() { _ = there.Close() }()
	out := &gathered{Conn: there}
	conn := net.Conn(out)
	if secure {
		conn = tls.Server(out, config)
	}
	r := bufio.NewReader(conn)
	req, err := http.ReadRequest(r)
	if err != nil {
		return
	}
	if !later {
		out.held = new(bytes.Buffer)
	}
	_, _ = io.WriteString(conn, ok(req.URL.Path[1:]))
	if later {
		<-answered
	}
	_, _ = io.WriteString(conn, ok("more"))
	if !later {
		_, _ = out.held.WriteTo(there)
	}
	_, _ = r.ReadByte() // until nobody is there
}
