package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pion/logging"
	"github.com/pion/stun/v4"
	pionturn "github.com/pion/turn/v5"

	"github.com/talkd/talkd/turn"
	"github.com/talkd/talkd/turn/client"
)

const turnSecret = "the secret of both sides"

// relayServer is a TURN server that is well, but for what a test breaks.
type relayServer struct {
	secret  string
	ahead   time.Duration // of its clock
	quota   bool
	permits func(netip.Addr) bool
	relay   pionturn.RelayAddressGenerator
	cert    *tls.Certificate // for TLS
}

func static(relay string) pionturn.RelayAddressGenerator {
	return &pionturn.RelayAddressGeneratorStatic{RelayAddress: net.ParseIP(relay), Address: "127.0.0.1"}
}

// serve listens for UDP and TCP, at one port on 127.0.0.1.
func (s relayServer) serve(t *testing.T) (port int) {
	t.Helper()
	var listen net.ListenConfig
	stream, err := listen.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	datagrams, err := listen.ListenPacket(t.Context(), "udp", stream.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	port = stream.Addr().(*net.TCPAddr).Port
	if s.cert != nil {
		stream = tls.NewListener(stream, &tls.Config{Certificates: []tls.Certificate{*s.cert}, MinVersion: tls.VersionTLS12})
	}
	if s.relay == nil {
		s.relay = static("127.0.0.1")
	}
	permits := func(_ net.Addr, peer net.IP) bool {
		a, _ := netip.AddrFromSlice(peer)
		return s.permits == nil || s.permits(a.Unmap())
	}
	quiet := logging.NewDefaultLoggerFactory()
	quiet.DefaultLogLevel = logging.LogLevelDisabled
	server, err := pionturn.NewServer(pionturn.ServerConfig{
		Realm: "example.org", LoggerFactory: quiet,
		AuthHandler: func(r *pionturn.RequestAttributes) (string, []byte, bool) {
			expiry, user, _ := strings.Cut(r.Username, ":")
			at, err := strconv.ParseInt(expiry, 10, 64)
			if err != nil || at < time.Now().Add(s.ahead).Unix() {
				return "", nil, false
			}
			servers := turn.Servers{Secret: s.secret}
			c, err := servers.Credentials(user, time.Unix(at, 0))
			return user, pionturn.GenerateAuthKey(r.Username, r.Realm, c.Password), err == nil
		},
		QuotaHandler:      func(string, string, net.Addr) bool { return !s.quota },
		PacketConnConfigs: []pionturn.PacketConnConfig{{PacketConn: datagrams, RelayAddressGenerator: s.relay, PermissionHandler: permits}},
		ListenerConfigs:   []pionturn.ListenerConfig{{Listener: stream, RelayAddressGenerator: s.relay, PermissionHandler: permits}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	return port
}

// deaf relays what it sends to itself, as behind a firewall.
type deaf struct {
	pionturn.RelayAddressGenerator
}

func (d deaf) AllocatePacketConn(c pionturn.AllocateListenerConfig) (net.PacketConn, net.Addr, error) {
	conn, addr, err := d.RelayAddressGenerator.AllocatePacketConn(c)
	if err != nil {
		return nil, nil, err
	}
	return deafConn{conn}, addr, nil
}

type deafConn struct{ net.PacketConn }

func (d deafConn) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		n, from, err := d.PacketConn.ReadFrom(p)
		if err != nil || from.String() == d.LocalAddr().String() {
			return n, from, err
		}
	}
}

// elsewhere is a relay address of 127.0.0.2, so that it can be told apart from people.
type elsewhere struct {
	pionturn.RelayAddressGenerator
}

func (elsewhere) AllocatePacketConn(pionturn.AllocateListenerConfig) (net.PacketConn, net.Addr, error) {
	conn, err := (&net.ListenConfig{}).ListenPacket(context.Background(), "udp", "127.0.0.2:0")
	if err != nil {
		return nil, nil, err
	}
	return conn, conn.LocalAddr(), nil
}

// scripted answers each request by UDP with what the test makes of it.
func scripted(t *testing.T, answer func(request *stun.Message, from netip.AddrPort) []stun.Setter) (port int) {
	t.Helper()
	conn, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			request := stun.New()
			if stun.Decode(buf[:n], request) != nil {
				continue
			}
			setters := answer(request, from.(*net.UDPAddr).AddrPort())
			if setters == nil {
				continue
			}
			reply, err := stun.Build(append([]stun.Setter{stun.NewTransactionIDSetter(request.TransactionID)}, setters...)...)
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = conn.WriteTo(reply.Raw, from)
		}
	}()
	t.Cleanup(func() { _ = conn.Close(); <-done })
	return conn.LocalAddr().(*net.UDPAddr).Port
}

func success(request *stun.Message, from netip.AddrPort) []stun.Setter {
	a := stun.XORMappedAddress{IP: from.Addr().AsSlice(), Port: int(from.Port())}
	return []stun.Setter{stun.NewType(request.Type.Method, stun.ClassSuccessResponse), &a}
}

func refusal(request *stun.Message, code stun.ErrorCode, more ...stun.Setter) []stun.Setter {
	return append([]stun.Setter{stun.NewType(request.Type.Method, stun.ClassErrorResponse), &stun.ErrorCodeAttribute{Code: code, Reason: []byte("x")}}, more...)
}

// offerOf has one server.
func offerOf(t *testing.T, uri string) *TURN {
	t.Helper()
	servers := turn.Servers{Secret: turnSecret, Lifetime: time.Hour}
	var err error
	if strings.HasPrefix(uri, "stun") {
		servers.STUN, err = turn.ParseSTUN([]string{uri})
	} else {
		servers.TURN, err = turn.ParseTURN([]string{uri})
	}
	if err != nil {
		t.Fatal(err)
	}
	offer, err := OfferTURN(servers, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return offer
}

// lookTURN looks at one server, and says which of the findings is the worst.
func lookTURN(t *testing.T, uri string, a *authority) Finding {
	t.Helper()
	offer := offerOf(t, uri)
	list := offer.Look(t.Context(), a.pool)
	if len(list) == 0 {
		t.Fatal("nothing was found")
	}
	for _, f := range list {
		if strings.Contains(f.Text+f.Do, offer.Login.Username) && offer.Login.Username != "" || strings.Contains(f.Text+f.Do, turnSecret) {
			t.Errorf("tells a secret: %+v", f)
		}
		if f.Check != CheckTURN {
			t.Errorf("%+v", f)
		}
	}
	return list[len(list)-1]
}

// TestTURN: for each way a server can be broken, the cause.
func TestTURN(t *testing.T) {
	a := newAuthority(t)
	good, other, expired := a.certificate(t, "localhost", -1, 90), a.certificate(t, "turn.example.org", -1, 90), a.certificate(t, "localhost", -50, -20)
	well := relayServer{secret: turnSecret}
	broken := func(change func(*relayServer)) relayServer {
		s := well
		change(&s)
		return s
	}
	const udp, tcp, secure = "turn:127.0.0.1:%d?transport=udp", "turn:127.0.0.1:%d?transport=tcp", "turns:localhost:%d?transport=tcp"
	onlyTLS := broken(func(s *relayServer) { s.cert = &good })
	for name, tt := range map[string]struct {
		server relayServer
		uri    string
		result Result
		want   string
	}{
		"well by UDP":  {well, udp, OK, "it relays"},
		"well by TCP":  {well, tcp, OK, "it relays"},
		"well by TLS":  {onlyTLS, secure, OK, "it relays"},
		"STUN":         {well, "stun:127.0.0.1:%d", OK, "sees this machine as 127.0.0.1"},
		"secret":       {broken(func(s *relayServer) { s.secret = "another" }), udp, Failed, "another secret"},
		"secret, TCP":  {broken(func(s *relayServer) { s.secret = "another" }), tcp, Failed, "another secret"},
		"clock":        {broken(func(s *relayServer) { s.ahead = 3 * time.Hour }), udp, Failed, "clock is more than 1h0m0s ahead"},
		"quota":        {broken(func(s *relayServer) { s.quota = true }), udp, Failed, "quota is used up"},
		"name":         {broken(func(s *relayServer) { s.cert = &other }), secure, Failed, "not for localhost but for turn.example.org"},
		"expired":      {broken(func(s *relayServer) { s.cert = &expired }), secure, Failed, "has expired"},
		"no TLS":       {well, secure, Failed, "there is no TLS"},
		"TLS":          {onlyTLS, tcp, Failed, "something else than a STUN or TURN server answers at TCP port"},
		"no relay":     {broken(func(s *relayServer) { s.relay = static("192.0.2.1") }), udp, Failed, "nothing that is sent there arrives"},
		"firewall":     {broken(func(s *relayServer) { s.relay = deaf{static("127.0.0.1")} }), udp, Failed, "nobody reaches the relay address"},
		"firewall TCP": {broken(func(s *relayServer) { s.relay = deaf{static("127.0.0.1")} }), tcp, Warning, "does not reach the relay address"},
		"denied":       {broken(func(s *relayServer) { s.permits = func(netip.Addr) bool { return false } }), udp, Failed, "relays to nobody"},
		"denied here": {broken(func(s *relayServer) {
			s.relay, s.permits = elsewhere{static("127.0.0.2")}, func(a netip.Addr) bool { return a.String() == "127.0.0.2" }
		}), udp, Warning, "but not to 127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := lookTURN(t, fmt.Sprintf(tt.uri, tt.server.serve(t)), a)
			if f.Result != tt.result || !strings.Contains(f.Text, tt.want) || (f.Do == "") != (tt.result == OK) {
				t.Errorf("%+v, want %s: %s", f, tt.result, tt.want)
			}
		})
	}

	t.Run("nobody there", func(t *testing.T) {
		t.Parallel()
		port := well.serveNowhere(t)
		for _, uri := range []string{udp, tcp} {
			if f := lookTURN(t, fmt.Sprintf(uri, port), a); f.Result != Failed || !strings.Contains(f.Text, "refused") || !strings.Contains(f.Do, "port "+strconv.Itoa(port)) {
				t.Errorf("%+v", f)
			}
		}
	})
	t.Run("a web server", func(t *testing.T) {
		t.Parallel()
		page := httptest.NewServer(http.NotFoundHandler())
		defer page.Close()
		if f := lookTURN(t, "turn:"+page.Listener.Addr().String()+"?transport=tcp", a); f.Result != Failed || !strings.Contains(f.Text, "something else") {
			t.Errorf("%+v", f)
		}
	})
	t.Run("a name that nobody has", func(t *testing.T) {
		t.Parallel()
		if f := lookTURN(t, "turn:nowhere.invalid", a); f.Result != Failed || !strings.Contains(f.Text, "nowhere.invalid") || f.Do == "" {
			t.Errorf("%+v", f)
		}
	})
	t.Run("a name of several addresses", func(t *testing.T) {
		t.Parallel()
		offer := offerOf(t, fmt.Sprintf(tcp, well.serve(t)))
		uri, err := turn.ParseURI(offer.URIs[0])
		if err != nil {
			t.Fatal(err)
		}
		l := &turnLook{offer: offer, uri: uri}
		r, ok := l.find(t.Context(), []netip.Addr{netip.MustParseAddr("127.0.0.3"), netip.MustParseAddr("127.0.0.1")})
		if !ok || r.at.String() != "127.0.0.1" || len(l.list) != 1 || l.list[0].Result != Warning || !strings.Contains(l.list[0].Text, "127.0.0.3 does not answer") {
			t.Errorf("%v at %v: %+v", ok, r.at, l.list)
		}
		if ok {
			_ = r.client.Close()
		}
		// What a server says tells more than that there is none.
		if err := telling([]error{syscall.ECONNREFUSED, syscall.ENETUNREACH, client.ErrClosed}); !errors.Is(err, client.ErrClosed) {
			t.Errorf("%v", err)
		}
	})
	t.Run("TLS that is due", func(t *testing.T) {
		t.Parallel()
		due := a.certificate(t, "localhost", -80, 5)
		offer := offerOf(t, fmt.Sprintf(secure, broken(func(s *relayServer) { s.cert = &due }).serve(t)))
		// It does not listen at ::1, which localhost is as well on most machines.
		list := slices.DeleteFunc(offer.Look(t.Context(), a.pool), func(f Finding) bool { return strings.Contains(f.Text, "::1 does not answer") })
		if len(list) != 2 || list[0].Result != Warning || !strings.Contains(list[0].Text, "4 days only") || list[1].Result != OK {
			t.Errorf("%+v", list)
		}
	})
	for name, tt := range map[string]struct {
		answer func(*stun.Message, netip.AddrPort) []stun.Setter
		result Result
		want   string
	}{
		"silent": {func(*stun.Message, netip.AddrPort) []stun.Setter { return nil }, Failed, "nothing comes back from UDP port"},
		"no realm": {func(m *stun.Message, from netip.AddrPort) []stun.Setter {
			if m.Type.Method == stun.MethodBinding {
				return success(m, from)
			}
			return refusal(m, stun.CodeUnauthorized, stun.NewNonce("n"))
		}, Failed, "names no realm"},
		"forbidden": {func(m *stun.Message, from netip.AddrPort) []stun.Setter {
			if m.Type.Method == stun.MethodBinding {
				return success(m, from)
			}
			return refusal(m, stun.CodeForbidden)
		}, Failed, "(403)"},
		"unsigned": {func(m *stun.Message, from netip.AddrPort) []stun.Setter {
			if m.Type.Method == stun.MethodBinding || m.Contains(stun.AttrMessageIntegrity) {
				return success(m, from)
			}
			return refusal(m, stun.CodeUnauthorized, stun.NewNonce("n"), stun.NewRealm("r"))
		}, Failed, "knows another secret"},
		"stale for ever": {func(m *stun.Message, from netip.AddrPort) []stun.Setter {
			switch {
			case m.Type.Method == stun.MethodBinding:
				return success(m, from)
			case m.Contains(stun.AttrMessageIntegrity):
				return refusal(m, stun.CodeStaleNonce, stun.NewNonce("n"), stun.NewRealm("r"))
			}
			return refusal(m, stun.CodeUnauthorized, stun.NewNonce("n"), stun.NewRealm("r"))
		}, Failed, "a nonce is stale"},
		"another server": {func(m *stun.Message, from netip.AddrPort) []stun.Setter {
			if m.Type.Method == stun.MethodBinding {
				return success(m, from)
			}
			return refusal(m, stun.CodeTryAlternate)
		}, Failed, "another server (300)"},
		"no STUN": {func(m *stun.Message, _ netip.AddrPort) []stun.Setter { return refusal(m, stun.CodeForbidden) }, Failed, "question of STUN with 403"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if f := lookTURN(t, fmt.Sprintf(udp, scripted(t, tt.answer)), a); f.Result != tt.result || !strings.Contains(f.Text, tt.want) || f.Do == "" {
				t.Errorf("%+v, want %s", f, tt.want)
			}
		})
	}
	t.Run("DTLS", func(t *testing.T) {
		if f := lookTURN(t, "turns:turn.invalid?transport=udp", a); f.Result != Note || !strings.Contains(f.Text, "DTLS") {
			t.Errorf("%+v", f)
		}
	})
	t.Run("seen by IPv6", func(t *testing.T) {
		t.Parallel()
		me := &stun.XORMappedAddress{IP: net.ParseIP("2001:db8::1"), Port: 7}
		port := scripted(t, func(m *stun.Message, _ netip.AddrPort) []stun.Setter {
			switch m.Type.Method {
			case stun.MethodSend: // to itself
				data, _ := m.Get(stun.AttrData)
				return []stun.Setter{stun.NewType(stun.MethodData, stun.ClassIndication), from{}, stun.RawAttribute{Type: stun.AttrData, Value: data}}
			case stun.MethodAllocate:
				return []stun.Setter{stun.NewType(m.Type.Method, stun.ClassSuccessResponse), me, relayed{}}
			}
			return []stun.Setter{stun.NewType(m.Type.Method, stun.ClassSuccessResponse), me}
		})
		if f := lookTURN(t, fmt.Sprintf(udp, port), a); f.Result != OK || !strings.Contains(f.Text, "to itself came back") {
			t.Errorf("%+v", f)
		}
	})
	t.Run("open", func(t *testing.T) {
		port := scripted(t, func(m *stun.Message, from netip.AddrPort) []stun.Setter {
			if m.Type.Method != stun.MethodAllocate {
				return success(m, from)
			}
			return append(success(m, from), relayed{})
		})
		offer := offerOf(t, fmt.Sprintf(udp, port))
		if list := offer.Look(t.Context(), nil); len(list) != 2 || list[0].Result != Warning || !strings.Contains(list[0].Text, "for everybody") {
			t.Errorf("%+v", list)
		}
	})
	working := &TURN{URIs: []string{"turn:a", "turn:b"}, Login: Login{"u", "p"}}
	found := []Finding{{Check: CheckTURN, About: "turn:a", Result: Failed}, {Check: CheckTURN, About: "turn:b", Result: Warning}, {Check: CheckTURN, About: "turn:b", Result: OK}}
	if w := working.Working(found); w == nil || !slices.Equal(w.URIs, []string{"turn:b"}) || w.Login != working.Login {
		t.Errorf("%+v", w)
	}
	if w := working.Working(found[:2]); w != nil {
		t.Errorf("%+v", w)
	}
	for _, none := range []*TURN{nil, {}} {
		if none.Working(found) != nil {
			t.Error("what is not there works")
		}
		if list := none.Look(t.Context(), nil); len(list) != 1 || list[0].Result != Note || !strings.Contains(list[0].Text, "turn.servers") {
			t.Errorf("%+v", list)
		}
	}
}

// relayed is a relay address of nobody.
type relayed struct{}

func (relayed) AddTo(m *stun.Message) error {
	return stun.XORMappedAddress{IP: net.IPv4(127, 0, 0, 1).To4(), Port: 9}.AddToAs(m, stun.AttrXORRelayedAddress)
}

// from is the same address, of who has sent something.
type from struct{}

func (from) AddTo(m *stun.Message) error {
	return stun.XORMappedAddress{IP: net.IPv4(127, 0, 0, 1).To4(), Port: 9}.AddToAs(m, stun.AttrXORPeerAddress)
}

// serveNowhere is a port at which nothing listens.
func (relayServer) serveNowhere(t *testing.T) int {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}
