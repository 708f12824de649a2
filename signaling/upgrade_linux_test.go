package signaling_test

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
)

// TestUpgrade: the answer of the handshake and the greeting come together. On other
// systems, and with TLS, one comes after the other.
func TestUpgrade(t *testing.T) {
	c := newCluster(t, 1)
	host := strings.TrimPrefix(c.nodes[0].url(), "http://")
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, err = fmt.Fprintf(conn, "GET /spreed HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", host)
	if err != nil {
		t.Fatal(err)
	}
	first := make([]byte, 64<<10)
	n, err := conn.Read(first)
	if err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(bytes.NewReader(first[:n]))
	//nolint:bodyclose // there is none
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	// The key and what is accepted are those of RFC 6455 section 1.3.
	if got := resp.Header.Get("Sec-WebSocket-Accept"); resp.StatusCode != http.StatusSwitchingProtocols || got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Errorf("status %d, accepted %q", resp.StatusCode, got)
	}
	rest, _ := r.Peek(r.Buffered())
	if !bytes.Contains(rest, []byte(`"type":"welcome"`)) {
		t.Errorf("after the answer: %q", rest)
	}
}
