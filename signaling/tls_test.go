package signaling_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/talkd/talkd/signaling/tlsout"
)

// TestOverTLS: with TLS of the node a WebSocket begins, is asked, answers and ends as
// any other.
func TestOverTLS(t *testing.T) {
	c := newCluster(t, 1)
	trusted := httptest.NewTLSServer(nil) // of which the client has the certificate
	defer trusted.Close()
	config := trusted.TLS.Clone()
	config.NextProtos = []string{"http/1.1"}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: c.nodes[0].hub.Handler()}
	go func() { _ = server.Serve(tlsout.NewListener(l, config)) }()
	defer func() { _ = server.Close() }()
	//nolint:bodyclose // the library closes the body of the answer itself
	ws, _, err := websocket.Dial(t.Context(), "wss://"+l.Addr().String()+"/spreed", &websocket.DialOptions{HTTPClient: trusted.Client()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ws.CloseNow() }()
	said := make(chan string, 2)
	ended := make(chan error, 1)
	go func() {
		for {
			_, raw, err := ws.Read(t.Context())
			if err != nil {
				ended <- err
				return
			}
			said <- string(raw)
		}
	}()
	if got := <-said; !strings.Contains(got, `"type":"welcome"`) {
		t.Errorf("greeted with %s", got)
	}
	if err := ws.Ping(t.Context()); err != nil {
		t.Errorf("a ping: %v", err)
	}
	if err := ws.Write(t.Context(), websocket.MessageText, []byte(`{"id":"1","type":"bye","bye":{}}`)); err != nil {
		t.Fatal(err)
	}
	if got := <-said; !strings.Contains(got, `"type":"bye"`) {
		t.Errorf("answered with %s", got)
	}
	if err := <-ended; websocket.CloseStatus(err) != websocket.StatusNormalClosure {
		t.Errorf("ended with %v", err)
	}
}
