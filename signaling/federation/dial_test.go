package federation

import (
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/talkd/talkd/signaling/wire"
)

var loopback = netip.MustParsePrefix("127.0.0.0/8")

func TestAddresses(t *testing.T) {
	for text, want := range map[string]bool{
		"9.9.9.9": true, "2620:fe::fe": true,
		"127.0.0.1": false, "0.0.0.0": false, "10.1.2.3": false, "172.16.0.1": false, "192.168.1.1": false, "169.254.169.254": false,
		"100.64.0.1": false, "192.0.0.8": false, "192.0.2.1": false, "198.18.0.1": false, "198.51.100.1": false, "203.0.113.1": false, "224.0.0.1": false,
		"240.0.0.1": false, "255.255.255.255": false,
		"::1": false, "::": false, "fe80::1": false, "fc00::1": false, "fec0::1": false, "ff02::1": false, "64:ff9b::a00:1": false,
		"64:ff9b:1::1": false, "2002:a00:1::1": false, "2001::1": false, "2001:db8::1": false, "::10.0.0.1": false,
	} {
		if got := public(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

// TestAddressIsLookedAt: where a name leads to counts, when it is dialled.
func TestAddressIsLookedAt(t *testing.T) {
	there := newFarServer(t)
	asSecure := strings.Replace(there.url(), "ws://", "wss://", 1)
	for name, c := range map[string]struct {
		networks []netip.Prefix
		url      string
		want     error
	}{
		"loopback":                   {nil, there.url(), errAddress},
		"loopback by name":           {nil, strings.Replace(there.url(), "127.0.0.1", "localhost", 1), errAddress},
		"loopback, with TLS":         {nil, asSecure, errAddress},
		"another network":            {[]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, there.url(), errAddress},
		"allowed, but no TLS there":  {[]netip.Prefix{loopback}, asSecure, errConnect},
		"not a URL":                  {nil, "%", errURL},
		"another scheme":             {nil, "file:///etc/passwd", errURL},
		"with a user":                {nil, "wss://u:p@x.example/", errURL},
		"with a query":               {nil, "wss://x.example/?a", errURL},
		"plain, but not on loopback": {[]netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, "ws://192.0.2.1/", errAddress},
	} {
		t.Run(name, func(t *testing.T) {
			s := seat(c.url)
			_, err := NewDialer(Config{Networks: c.networks}).Join(t.Context(), s)
			if !errors.Is(err, c.want) || wire.ErrorFor(err).Code != wire.CodeFederationFailed {
				t.Errorf("error %v", err)
			}
			if err != nil && (strings.Contains(err.Error(), "127.0.0.1") || strings.Contains(err.Error(), s.Far.Token)) {
				t.Errorf("the error tells too much: %v", err)
			}
		})
	}
}

// TestTLS: the certificate of the other server is looked at.
func TestTLS(t *testing.T) {
	there := startFarServer(t, true)
	u := "wss" + strings.TrimPrefix(there.web.URL, "https")
	if _, err := dialer().Join(t.Context(), seat(u)); !errors.Is(err, errConnect) {
		t.Errorf("error %v", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(there.web.Certificate())
	done := make(chan error, 1)
	go func() {
		_, err := NewDialer(Config{Networks: []netip.Prefix{loopback}, RootCAs: roots}).Join(t.Context(), seat(u))
		done <- err
	}()
	c := there.next(welcome)
	c.hears(wire.TypeHello)
	c.say(`{"id":"federation","type":"error","error":{"code":"not_allowed","message":"x"}}`)
	if err := <-done; wire.ErrorFor(err).Code != wire.CodeNotAllowed {
		t.Errorf("error %v", err)
	}
}

func TestNoRedirect(t *testing.T) {
	there := newFarServer(t)
	away := httptest.NewServer(http.RedirectHandler("http"+strings.TrimPrefix(there.url(), "ws")+"/spreed", http.StatusTemporaryRedirect))
	t.Cleanup(away.Close)
	_, err := dialer().Join(t.Context(), seat("ws"+strings.TrimPrefix(away.URL, "http")))
	if !errors.Is(err, errConnect) {
		t.Errorf("error %v", err)
	}
}
