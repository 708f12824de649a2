package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/talkd/talkd/doctor"
)

// reverseProxy is one of those that docs/nextcloud.md has an example of.
type reverseProxy struct {
	program string
	// whole makes a configuration of the example; dir is for its files, lib has its modules.
	whole func(example, dir, lib string, port int) string
	args  func(dir, file string) []string
	// upgrade is what passes WebSockets on.
	upgrade *regexp.Regexp
}

func reverseProxies() map[string]reverseProxy {
	return map[string]reverseProxy{
		"nginx": {
			program: "nginx",
			whole: func(example, dir, _ string, port int) string {
				temp := ""
				for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
					temp += kind + "_temp_path " + filepath.Join(dir, kind) + ";\n"
				}
				return "daemon off; error_log stderr; pid " + filepath.Join(dir, "pid") + "; events {}\nhttp { access_log off;\n" + temp +
					strings.Replace(example, "listen 443", "listen 127.0.0.1:"+strconv.Itoa(port), 1) + "}\n"
			},
			args:    func(dir, file string) []string { return []string{"-p", dir, "-c", file} },
			upgrade: regexp.MustCompile(`(?m)^ *proxy_set_header (Upgrade|Connection) .*$`),
		},
		"apache": {
			program: "apache2",
			whole: func(example, dir, lib string, port int) string {
				head := fmt.Sprintf("ServerRoot %s\nDefaultRuntimeDir %s\nPidFile %s/pid\nErrorLog /dev/stderr\nServerName localhost\nListen 127.0.0.1:%d\n", dir, dir, dir, port)
				if os.Getuid() == 0 {
					head += "User nobody\nGroup nogroup\n"
				}
				for _, module := range []string{"mpm_event", "authz_core", "ssl", "proxy", "proxy_http"} {
					head += fmt.Sprintf("LoadModule %s_module %s/apache2/modules/mod_%s.so\n", module, lib, module)
				}
				return head + strings.Replace(example, "*:443", "127.0.0.1:"+strconv.Itoa(port), 1)
			},
			args:    func(_, file string) []string { return []string{"-D", "FOREGROUND", "-f", file} },
			upgrade: regexp.MustCompile(` upgrade=websocket`),
		},
		"caddy": {
			program: "caddy",
			whole: func(example, dir, _ string, port int) string {
				site := fmt.Sprintf("https://localhost:%d {\nbind 127.0.0.1\ntls %s %s\n", port, filepath.Join(dir, "fullchain.pem"), filepath.Join(dir, "privkey.pem"))
				return "{\nadmin off\nauto_https disable_redirects\nservers {\nprotocols h1 h2\n}\n}\n" + strings.Replace(example, "localhost {", site, 1)
			},
			args: func(_, file string) []string { return []string{"run", "--adapter", "caddyfile", "--config", file} },
		},
	}
}

// TestReverseProxies lets clients come to a node through each reverse proxy that is
// installed here, with the configuration that docs/nextcloud.md has.
func TestReverseProxies(t *testing.T) {
	page, err := os.ReadFile("../../docs/nextcloud.md")
	if err != nil {
		t.Fatal(err)
	}
	c := startCluster(t, 1, "--config", configured(t, "http:\n  trusted_proxies: [127.0.0.1/32]\n"))
	for name, p := range reverseProxies() {
		example := regexp.MustCompile("(?s)```" + name + "\n(.*?)```").FindSubmatch(page)
		if example == nil {
			t.Errorf("docs/nextcloud.md has no example of %s", name)
			continue
		}
		program, err := exec.LookPath(p.program)
		if err != nil {
			t.Logf("%s is not installed", p.program)
			continue
		}
		t.Run(name, func(t *testing.T) {
			found := c.through(t, p, program, string(example[1]))
			for _, check := range []string{doctor.CheckName, doctor.CheckCertificate, doctor.CheckProxy, doctor.CheckWebSocket} {
				if f, there := found[check]; !there || f.Result != doctor.OK {
					t.Errorf("%s: %+v", check, f)
				}
			}
			if p.upgrade == nil {
				return
			}
			broken := p.upgrade.ReplaceAllString(string(example[1]), "")
			if f := c.through(t, p, program, broken)[doctor.CheckWebSocket]; f.Result != doctor.Failed || !strings.Contains(f.Do, "Upgrade and Connection") {
				t.Errorf("without its upgrade: %+v", f)
			}
		})
	}
}

// through runs a reverse proxy in front of the node, and tells what the doctor finds.
func (c *cluster) through(t *testing.T, p reverseProxy, program, example string) map[string]doctor.Finding {
	t.Helper()
	dir := t.TempDir()
	writeCertificate(t, dir)
	node, err := url.Parse(c.nodes[0].HTTP)
	if err != nil {
		t.Fatal(err)
	}
	port := freePorts(t, 10) // all that a node has, as some of its are UDP
	example = strings.NewReplacer("127.0.0.1:8080", node.Host, "talk.example.org", "localhost", "/etc/ssl/talk", dir).Replace(example)
	file := filepath.Join(dir, "config")
	if err := os.WriteFile(file, []byte(p.whole(example, dir, filepath.Join(filepath.Dir(program), "../lib"), port)), 0o600); err != nil {
		t.Fatal(err)
	}
	log := new(bytes.Buffer)
	cmd := exec.CommandContext(t.Context(), program, p.args(dir, file)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // it ends by the signal
		if t.Failed() {
			t.Log(log)
		}
	}()
	eventually(t, 20*time.Second, "it listens", func() (bool, string) {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			return false, err.Error()
		}
		return conn.Close() == nil, ""
	})
	about := fmt.Sprintf("https://localhost:%d", port)
	all, _ := c.examine(c.nodes[0], "--media=false", "--ca", filepath.Join(dir, "fullchain.pem"), "--url", about)
	found := make(map[string]doctor.Finding)
	for check, list := range all {
		for _, f := range list {
			if f.About == about {
				found[check] = f
			}
		}
	}
	return found
}

// writeCertificate makes one of localhost that is its own authority.
func writeCertificate(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 0, 30), IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"fullchain.pem": {Type: "CERTIFICATE", Bytes: cert}, "privkey.pem": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
