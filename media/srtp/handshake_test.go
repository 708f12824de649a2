package srtp

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	piondtls "github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/crypto/selfsign"
	piondtlsnet "github.com/pion/dtls/v3/pkg/net"
	"github.com/pion/dtls/v3/pkg/protocol/handshake"
	pionsrtp "github.com/pion/srtp/v3"
)

// shake connects a server whose keys are taken to a client of the library.
func shake(t *testing.T, h *Handshake, suite piondtls.CipherSuiteID, profile piondtls.SRTPProtectionProfile) *piondtls.Conn {
	t.Helper()
	cert, err := selfsign.GenerateSelfSigned()
	if err != nil {
		t.Fatal(err)
	}
	a, b := net.Pipe()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	server := make(chan error, 1)
	go func() {
		c, err := piondtls.ServerWithOptions(piondtlsnet.PacketConnFromConn(a), a.RemoteAddr(),
			piondtls.WithCertificates(cert),
			piondtls.WithCipherSuites(suite),
			piondtls.WithSRTPProtectionProfiles(profile),
			piondtls.WithKeyLogWriter(h),
			piondtls.WithServerHelloMessageHook(func(m handshake.MessageServerHello) handshake.Message {
				h.Hello(m)
				return &m
			}))
		if err == nil {
			t.Cleanup(func() { _ = c.Close() })
			err = c.HandshakeContext(ctx)
		}
		server <- err
	}()
	c, err := piondtls.ClientWithOptions(piondtlsnet.PacketConnFromConn(b), b.RemoteAddr(),
		piondtls.WithCertificates(cert),
		piondtls.WithInsecureSkipVerify(true),
		piondtls.WithCipherSuites(suite),
		piondtls.WithSRTPProtectionProfiles(profile))
	if err == nil {
		t.Cleanup(func() { _ = c.Close() })
		err = c.HandshakeContext(ctx)
	}
	if err := errors.Join(err, <-server); err != nil {
		t.Fatal(err)
	}
	return c
}

// The keys are those of the connection, whatever the two agreed upon.
func TestKeysOfTheHandshake(t *testing.T) {
	for _, suite := range []piondtls.CipherSuiteID{
		piondtls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
		piondtls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		piondtls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,
		piondtls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
		piondtls.TLS_ECDHE_ECDSA_WITH_AES_128_CCM,
	} {
		for _, p := range profiles {
			t.Run(suite.String()+"/"+p.name, func(t *testing.T) {
				h := &Handshake{}
				client := shake(t, h, suite, p.id)
				s, err := h.Sealer()
				if err != nil {
					t.Fatal(err)
				}
				if _, err := h.Sealer(); !errors.Is(err, ErrNoKeys) {
					t.Errorf("the keys are still known: %v", err)
				}
				state, ok := client.ConnectionState()
				if !ok {
					t.Fatal("no state")
				}
				cfg := pionsrtp.Config{Profile: p.peer}
				if err := cfg.ExtractSessionKeysFromDTLS(&state, true); err != nil {
					t.Fatal(err)
				}
				opens, err := pionsrtp.CreateContext(cfg.Keys.RemoteMasterKey, cfg.Keys.RemoteMasterSalt, p.peer)
				if err != nil {
					t.Fatal(err)
				}
				b, head := plain(rand.New(rand.NewPCG(7, 7)), 1, 1, 1, 300)
				room := make([]byte, 400)
				copy(room, b[:head])
				stream, err := s.Stream(1)
				if err != nil {
					t.Fatal(err)
				}
				n, err := stream.Seal(room, head, b[head:])
				if err != nil {
					t.Fatal(err)
				}
				if got, err := opens.DecryptRTP(nil, room[:n], nil); err != nil || !bytes.Equal(got, b) {
					t.Errorf("the client cannot open it: %v", err)
				}
				h = &Handshake{}
				client = shake(t, h, suite, p.id)
				o, err := h.Opener()
				if err != nil {
					t.Fatal(err)
				}
				if state, ok = client.ConnectionState(); !ok {
					t.Fatal("no state")
				}
				if err := cfg.ExtractSessionKeysFromDTLS(&state, true); err != nil {
					t.Fatal(err)
				}
				seals, err := pionsrtp.CreateContext(cfg.Keys.LocalMasterKey, cfg.Keys.LocalMasterSalt, p.peer)
				if err != nil {
					t.Fatal(err)
				}
				if n, _, err = o.Open(room, sealed(t, seals, b)); err != nil || !bytes.Equal(room[:n], b) {
					t.Errorf("what the client seals cannot be opened: %v", err)
				}
			})
		}
	}
}

// Without all that is needed there are no keys, rather than wrong ones.
func TestNoKeys(t *testing.T) {
	for name, h := range map[string]*Handshake{"nothing": {}, "no hello": {}, "lines": {}} {
		switch name {
		case "no hello": // this side was the client
			if _, err := h.Write([]byte("CLIENT_RANDOM " + string(bytes.Repeat([]byte("ab"), 32)) + " " + string(bytes.Repeat([]byte("cd"), 48)) + "\n")); err != nil {
				t.Fatal(err)
			}
		case "lines":
			h.Hello(handshake.MessageServerHello{})
			for _, line := range []string{"", "CLIENT_RANDOM", "CLIENT_RANDOM zz zz\n", "CLIENT_RANDOM 00 11\n", "SERVER x y"} {
				if n, err := h.Write([]byte(line)); n != len(line) || err != nil {
					t.Error(n, err)
				}
			}
		}
		if _, err := h.Sealer(); !errors.Is(err, ErrNoKeys) {
			t.Errorf("%s: %v", name, err)
		}
	}
	suite := uint16(piondtls.TLS_PSK_WITH_AES_128_CCM)
	h := &Handshake{}
	h.Hello(handshake.MessageServerHello{CipherSuiteID: &suite})
	if _, err := h.Sealer(); !errors.Is(err, ErrNoKeys) {
		t.Errorf("a suite that is not known: %v", err)
	}
}
