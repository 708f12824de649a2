package node

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/talkd/talkd/signaling/tlsout"
)

// A panic ends its request and is logged, once and without the client's address.
func TestSurvivingAPanic(t *testing.T) {
	var log bytes.Buffer
	server := httptest.NewUnstartedServer(nil)
	server.Config = newServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/abort" {
			panic(http.ErrAbortHandler)
		}
		panic("broken")
	}), slog.New(slog.NewTextHandler(&log, nil)))
	server.Start()
	for _, path := range []string{"/abort", "/"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := server.Client().Do(r); err == nil {
			resp.Body.Close()
			t.Errorf("%s: answered %s", path, resp.Status)
		}
	}
	server.Close() // waits for the handlers
	if text := log.String(); strings.Count(text, "a request ended in a panic") != 1 || !strings.Contains(text, "error=broken") || strings.Contains(text, "127.0.0.1:") {
		t.Errorf("log: %s", text)
	}
}

// TestTLSIsHeld: where the node has TLS signaling gets connections of which it knows what
// has arrived.
func TestTLSIsHeld(t *testing.T) {
	known := httptest.NewTLSServer(nil)
	defer known.Close()
	own := known.TLS.Certificates[0]
	cert := own.Certificate[0]
	key, err := x509.MarshalPKCS8PrivateKey(own.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: cert}, keyFile: {Type: "PRIVATE KEY", Bytes: key}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	held := make(chan bool, 1)
	server, err := listenHTTP(t.Context(), "127.0.0.1:0", certFile, keyFile, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			held <- false
			return
		}
		defer conn.Close()
		_, written, ok := tlsout.Hold(conn)
		held <- ok && written > int64(len(cert))
	}), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Run(t.Context()) }()
	defer server.close()
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}}
	conn, err := dialer.DialContext(t.Context(), "tcp", server.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	select {
	case ok := <-held:
		if !ok {
			t.Error("not held")
		}
	case <-time.After(10 * time.Second):
		t.Error("nothing came")
	}
}
