package doctor

import (
	"bufio"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/talkd/talkd/turn"
)

// coturn starts the server that most people have; it listens at one port by UDP and TCP, and at
// another one by TLS.
func coturn(t *testing.T, a *authority, more ...string) (plain, secure int) {
	t.Helper()
	exe, err := exec.LookPath("turnserver")
	if err != nil {
		t.Skip("coturn is not installed: apt-get install coturn")
	}
	dir := t.TempDir()
	cert := a.certificate(t, "localhost", -1, 90)
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"cert": {Type: "CERTIFICATE", Bytes: cert.Certificate[0]}, "key": {Type: "PRIVATE KEY", Bytes: key}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	plain, secure = relayServer{}.serveNowhere(t), relayServer{}.serveNowhere(t)
	cmd := exec.CommandContext(t.Context(), exe, append([]string{
		"-n", "-v", "--log-file", "stdout", "--pidfile", filepath.Join(dir, "pid"), "--userdb", filepath.Join(dir, "db"), "--no-cli",
		"--listening-ip", "127.0.0.1", "--relay-ip", "127.0.0.1", "--listening-port", fmt.Sprint(plain), "--tls-listening-port", fmt.Sprint(secure),
		"--cert", filepath.Join(dir, "cert"), "--pkey", filepath.Join(dir, "key"), "--realm", "example.org", "--use-auth-secret",
	}, more...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		// It tells of UDP last.
		want := map[string]bool{fmt.Sprintf("UDP listener opened on: 127.0.0.1:%d", plain): true, fmt.Sprintf("UDP listener opened on: 127.0.0.1:%d", secure): true}
		for lines := bufio.NewScanner(out); lines.Scan(); {
			for text := range want {
				if !strings.Contains(lines.Text(), text) {
					continue
				}
				if delete(want, text); len(want) == 0 {
					close(ready)
				}
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
		_ = cmd.Wait()
	})
	select {
	case <-ready:
	case <-done:
		t.Fatal("coturn has ended")
	case <-time.After(30 * time.Second):
		t.Fatal("coturn does not listen")
	}
	return plain, secure
}

// TestCoturn: the same words for coturn, by UDP, TCP and TLS.
func TestCoturn(t *testing.T) {
	a := newAuthority(t)
	for name, tt := range map[string]struct {
		more   []string
		behind time.Duration // the clock here
		result Result
		want   string
	}{
		"well":   {[]string{"--static-auth-secret", turnSecret, "--allow-loopback-peers"}, 0, OK, "it relays"},
		"secret": {[]string{"--static-auth-secret", "another one", "--allow-loopback-peers"}, 0, Failed, "it refuses the credentials (401)"},
		"denied": {[]string{"--static-auth-secret", turnSecret}, 0, Failed, "relays to nobody: neither to 127.0.0.1, as whom it sees this machine (403)"},
		// Clients ask for a relay address by each way at once.
		"quota": {[]string{"--static-auth-secret", turnSecret, "--allow-loopback-peers", "--user-quota", "1"}, 0, Failed, "quota is used up"},
		"clock": {[]string{"--static-auth-secret", turnSecret, "--allow-loopback-peers"}, 3 * time.Hour, Failed, "clock is more than 1h0m0s ahead"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plain, secure := coturn(t, a, tt.more...)
			servers := turn.Servers{Secret: turnSecret, Lifetime: time.Hour}
			var err error
			if servers.TURN, err = turn.ParseTURN([]string{
				fmt.Sprintf("turn:127.0.0.1:%d?transport=udp", plain), fmt.Sprintf("turn:127.0.0.1:%d?transport=tcp", plain), fmt.Sprintf("turns:localhost:%d", secure),
			}); err != nil {
				t.Fatal(err)
			}
			if servers.STUN, err = turn.ParseSTUN([]string{fmt.Sprintf("stun:127.0.0.1:%d", plain)}); err != nil {
				t.Fatal(err)
			}
			offer, err := OfferTURN(servers, time.Now().Add(-tt.behind))
			if err != nil {
				t.Fatal(err)
			}
			list := offer.Look(t.Context(), a.pool)
			if len(list) != 4 || list[0].Result != OK {
				t.Fatalf("%+v", list)
			}
			for i, f := range list[1:] {
				t.Logf("%s: %s", f.About, f.Text)
				if name == "quota" && i == 0 && f.Result == OK {
					continue
				}
				if f.Result != tt.result || !strings.Contains(f.Text, tt.want) {
					t.Errorf("%+v, want %s: %s", f, tt.result, tt.want)
				}
			}
		})
	}
}
