package doctor

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// authority signs certificates of tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func sign(t *testing.T, template, parent *x509.Certificate, key *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if parent == nil {
		parent, key = template, own
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, own.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c, own
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{pool: x509.NewCertPool()}
	a.cert, a.key = sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "tests"}, NotBefore: time.Now().Add(-100 * 24 * time.Hour), NotAfter: time.Now().Add(100 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil, nil)
	a.pool.AddCert(a.cert)
	return a
}

// certificate of a name, good from and until these days from now on.
func (a *authority) certificate(t *testing.T, name string, from, until int) tls.Certificate {
	t.Helper()
	c, key := sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{name}, NotBefore: time.Now().AddDate(0, 0, from), NotAfter: time.Now().AddDate(0, 0, until),
	}, a.cert, a.key)
	return tls.Certificate{Certificate: [][]byte{c.Raw}, PrivateKey: key}
}

// door answers as a node does, but for what a test replaces.
type door struct {
	id      store.NodeID
	trusted []netip.Prefix
	welcome http.HandlerFunc
	spreed  http.HandlerFunc
}

func (d door) handler() http.Handler {
	mux := http.NewServeMux()
	if d.welcome == nil {
		d.welcome = func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(backend.HeaderFeatures, "mcu")
			_ = json.NewEncoder(w).Encode(map[string]string{"version": "1.2.3"})
		}
	}
	if d.spreed == nil {
		d.spreed = says(wire.WelcomeMessage(wire.ServerInfo{Version: "1.2.3", Node: d.id}))
	}
	mux.HandleFunc("GET /below/api/v1/welcome", d.welcome)
	mux.HandleFunc("GET /below/spreed", d.spreed)
	return TellSeen(d.trusted, func(ticket string) bool { return ticket == "ticket" }, mux)
}

// says opens a WebSocket and says one thing, nothing if it is nil.
func says(m any) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = ws.CloseNow() }()
		if frame, err := json.Marshal(m); m != nil && err == nil {
			_ = ws.Write(r.Context(), websocket.MessageText, frame)
		}
		<-ws.CloseRead(r.Context()).Done()
	}
}

func answers(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// serve is the address of a handler with that certificate.
func serve(t *testing.T, cert tls.Certificate, h http.Handler) string {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}
	s.StartTLS()
	t.Cleanup(s.Close)
	_, port, err := net.SplitHostPort(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return "https://localhost:" + port + "/below"
}

func TestAddress(t *testing.T) {
	a := newAuthority(t)
	good := a.certificate(t, "localhost", -1, 90)
	n1 := door{id: "n1"}
	dead, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = dead.Close()
	up := []string{"name ok", "certificate ok"}
	then := func(more ...string) []string { return append(append([]string{}, up...), more...) }
	plain := httptest.NewServer(n1.handler())
	t.Cleanup(plain.Close)
	for name, tt := range map[string]struct {
		url, words string
		want       []string
	}{
		"good":             {serve(t, good, n1.handler()), "n1 says welcome", then("websocket ok")},
		"of the WebSocket": {strings.Replace(serve(t, good, n1.handler()), "https", "wss", 1) + "/spreed", "n1 says welcome", then("websocket ok")},
		"slash":            {serve(t, good, n1.handler()) + "/", "n1 says welcome", then("websocket ok")},
		"plain":            {plain.URL + "/below", "n1 says welcome", []string{"websocket ok"}},
		"no URL":           {"localhost", "not a URL", []string{"name failed"}},
		"no name":          {"https://nothing.invalid", "nothing.invalid", []string{"name failed"}},
		"nothing there":    {"https://" + dead.Addr().String(), "nothing listens", []string{"connection failed"}},
		"no TLS":           {strings.Replace(plain.URL, "http", "https", 1), "plain HTTP", []string{"certificate failed", "welcome failed"}},
		"expired":          {serve(t, a.certificate(t, "localhost", -30, -2), n1.handler()), "has expired on", []string{"name ok", "certificate failed", "websocket ok"}},
		"not yet":          {serve(t, a.certificate(t, "localhost", 2, 30), n1.handler()), "from " + day(time.Now().AddDate(0, 0, 2)), []string{"name ok", "certificate failed", "websocket ok"}},
		"expires soon":     {serve(t, a.certificate(t, "localhost", -80, 5), n1.handler()), "4 days are left", []string{"name ok", "certificate warning", "websocket ok"}},
		"another name":     {serve(t, a.certificate(t, "other.example", -1, 90), n1.handler()), "but for other.example", []string{"name ok", "certificate failed", "websocket ok"}},
		"unknown authority": {
			serve(t, newAuthority(t).certificate(t, "localhost", -1, 90), n1.handler()), "fullchain.pem", []string{"name ok", "certificate failed", "websocket ok"},
		},
		"no features":    {serve(t, good, door{id: "n1", welcome: answers(200, `{"version":"1"}`)}.handler()), "too old", then("welcome failed", "websocket ok")},
		"dead node":      {serve(t, good, door{welcome: answers(502, "<html>")}.handler()), "does not reach talkd", then("welcome failed")},
		"another path":   {serve(t, good, http.NotFoundHandler()), "correct the path", then("welcome failed")},
		"a page":         {serve(t, good, answers(200, "<html>Nextcloud</html>")), "something else", then("welcome failed")},
		"elsewhere":      {serve(t, good, answers(301, "", "Location", "https://new.example/x")), "at https://new.example", then("welcome failed")},
		"no upgrade":     {serve(t, good, door{spreed: answers(426, "")}.handler()), "Upgrade and Connection", then("websocket failed")},
		"a page for it":  {serve(t, good, door{spreed: answers(200, "")}.handler()), "a page comes", then("websocket failed")},
		"login":          {serve(t, good, door{spreed: answers(403, "")}.handler()), "wants a login", then("websocket failed")},
		"redirected":     {serve(t, good, door{spreed: answers(308, "", "Location", "https://new.example/spreed")}.handler()), "do not follow", then("websocket failed")},
		"old server":     {serve(t, good, door{}.handler()), "another signaling server (version 1.2.3)", then("websocket failed")},
		"something else": {serve(t, good, door{spreed: says([]int{1})}.handler()), "something else", then("websocket failed")},
	} {
		expect(t, name, Address{URL: tt.url, Roots: a.pool, Ticket: "ticket"}.Look(t.Context()), tt.words, tt.want...)
	}
	expect(t, "another node", Address{URL: serve(t, good, n1.handler()), Node: "n2", Roots: a.pool}.Look(t.Context()),
		"leads to n1", "name ok", "name warning", "certificate ok", "websocket warning")

	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	expect(t, "held back", Address{URL: serve(t, good, door{spreed: says(nil)}.handler()), Roots: a.pool}.Look(ctx), "nothing comes through", then("websocket failed")...)
}

// TestProxy has how a node sees who comes through a reverse proxy, which it tells to
// nobody without a ticket.
func TestProxy(t *testing.T) {
	a := newAuthority(t)
	good := a.certificate(t, "localhost", -1, 90)
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	through := func(by, forwarded string, trusted []netip.Prefix) string {
		behind := door{id: "n1", trusted: trusted}.handler()
		return serve(t, good, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if by != "" {
				w.Header().Set("Server", by)
			}
			if forwarded != "" {
				r.Header.Set("X-Forwarded-For", forwarded)
			}
			behind.ServeHTTP(w, r)
		}))
	}
	for name, tt := range map[string]struct{ url, ticket, words, want string }{
		"none":        {through("", "", nil), "ticket", "", ""},
		"trusted":     {through("nginx", "192.0.2.1", loopback), "ticket", "believes it", "proxy ok"},
		"not trusted": {through("nginx", "192.0.2.1", nil), "ticket", "http.trusted_proxies: [127.0.0.1/32]", "proxy warning"},
		"says not":    {through("nginx", "", loopback), "ticket", "(nginx) does not say", "proxy warning"},
		"no ticket":   {through("nginx", "192.0.2.1", nil), "", "", ""},
		"bad ticket":  {through("nginx", "192.0.2.1", nil), "another", "", ""},
	} {
		want := []string{"name ok", "certificate ok", tt.want, "websocket ok"}
		if tt.want == "" {
			want = []string{"name ok", "certificate ok", "websocket ok"}
		}
		expect(t, name, Address{URL: tt.url, Roots: a.pool, Ticket: tt.ticket}.Look(t.Context()), tt.words, want...)
	}
	// Over a connection that may be somebody else's the ticket is not shown.
	asked := make(chan string, 1)
	spy := door{id: "n1", welcome: func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Header.Get(headerTicket)
		answers(200, `{"version":"1"}`)(w, r)
	}}
	Address{URL: serve(t, newAuthority(t).certificate(t, "localhost", -1, 90), spy.handler()), Roots: a.pool, Ticket: "ticket"}.Look(t.Context())
	if ticket := <-asked; ticket != "" {
		t.Error("the ticket went to somebody without a good certificate")
	}
}
