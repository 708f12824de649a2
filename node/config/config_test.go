package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

func complete(t *testing.T, c Config) Config {
	t.Helper()
	if err := c.Complete(); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDefaultIsValid(t *testing.T) {
	c := complete(t, Default())
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	if c.HTTP.PublicURL != "http://127.0.0.1:8080" || c.Relay.Advertise != "127.0.0.1:8085" {
		t.Errorf("not completed: %+v", c)
	}
}

func TestDecodeNamesTheNearestKey(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"htpp: {}", `unknown key "htpp", the nearest is "http"`},
		{"http:\n  lsten: x", `line 2: unknown key "http.lsten", the nearest is "http.listen"`},
		{"signaling:\n  backends:\n  - {url: x, sekret: y}", `"signaling.backends.sekret", the nearest is "signaling.backends.secret"`},
		{"http: [", "invalid configuration"},
		{"http: {listen: {a: b}}", "invalid configuration"},
		{"node: {id: a}\n---\nnode: {id: b}", "more than one document"},
	} {
		c := Default()
		err := Decode(strings.NewReader(tt.in), &c)
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v, want %q", tt.in, err, tt.want)
		}
	}
}

func TestEnvironmentOverridesTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "talkd.yaml")
	if err := os.WriteFile(file, []byte("http: {listen: '127.0.0.1:1'}\nnode: {id: a}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(file, []string{"TALKD_HTTP_LISTEN=127.0.0.1:2", "TALKD_SIGNALING_RESUME_TIMEOUT=7s", "TALKD_CLUSTER_JOIN=a:1,b:2", "TALKD_TOKEN=x", "TALKD_BENCH_USER=x:y", "HOME=/"})
	if err != nil {
		t.Fatal(err)
	}
	if c.HTTP.Listen != "127.0.0.1:2" || c.Node.ID != "a" || c.Signaling.ResumeTimeout.Seconds() != 7 || len(c.Cluster.Join) != 2 {
		t.Errorf("%+v", c)
	}
	for _, bad := range []string{"TALKD_HTTP_LISEN=x", "TALKD_CLUSTER_EXPECT=many", "TALKD_SIGNALING_BACKENDS=x"} {
		if _, err := Load("", []string{bad}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestValidateRefuses(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"node.id":                             func(c *Config) { c.Node.ID = "N 1" },
		"unknown role":                        func(c *Config) { c.Node.Roles = []string{"server", "sever"} },
		"admin.listen":                        func(c *Config) { c.Admin.Listen = "0.0.0.0:8081" },
		"development nodes":                   func(c *Config) { c.Node.Dev = true; c.HTTP.Listen = "0.0.0.0:80" },
		"cluster.advertise":                   func(c *Config) { c.Cluster.Listen = "0.0.0.0:8082" },
		"http.public_url":                     func(c *Config) { c.HTTP.PublicURL = "ftp://x" },
		"plain HTTP only":                     func(c *Config) { c.Signaling.Backends = []Backend{{URL: "http://cloud.example.org", Secret: "abcdef"}} },
		"sample value":                        func(c *Config) { c.Signaling.Backends = []Backend{{URL: "https://c.example.org", Secret: "secret"}} },
		"signaling.internal_secret: a sample": func(c *Config) { c.Signaling.InternalSecret = "the-shared-secret-for-internal-clients" },
		"shorter than 16":                     func(c *Config) { c.Signaling.InternalSecret = "0123456789" },
		"secret: missing":                     func(c *Config) { c.Signaling.Backends = []Backend{{URL: "https://c.example.org"}} },
		"media.blocked_candidates":            func(c *Config) { c.Media.BlockedCandidates = []string{"10.0.0.1"} },
		"is a network of IPv4":                func(c *Config) { c.Media.BlockedCandidates = []string{"::ffff:10.0.0.0/104"} },
		"media.allowed_candidates":            func(c *Config) { c.Media.AllowedCandidates = []string{"lan"} },
		"signaling.stats_from":                func(c *Config) { c.Signaling.StatsFrom = []string{"10.0.0.1"} },
		"a limit is less": func(c *Config) {
			c.Signaling.Backends = []Backend{{URL: "https://c.example.org", Secret: "abcdef", MaxSessions: -1}}
		},
		"http.trusted_proxies":  func(c *Config) { c.HTTP.TrustedProxies = []string{"10.0.0.1"} },
		"--public-url URL":      func(c *Config) { c.HTTP.Listen = ":8080" },
		"[::]:8080\" is no":     func(c *Config) { c.HTTP.Listen = "[::]:8080" },
		"0.0.0.0:8080\" is no":  func(c *Config) { c.HTTP.Listen = "0.0.0.0:8080" },
		"media.max_egress":      func(c *Config) { c.Media.MaxEgress = -1 },
		"media.aes256":          func(c *Config) { c.Media.AES256 = "always" },
		"max_sessions":          func(c *Config) { c.Signaling.MaxSessions = 0 },
		"tls_cert and":          func(c *Config) { c.HTTP.TLSCert = "x" },
		"log.level":             func(c *Config) { c.Log.Level = "loud" },
		"accounts.init_user":    func(c *Config) { c.Accounts.InitUser = "admin" },
		"node.roles: none":      func(c *Config) { c.Node.Roles = nil },
		"signaling needs media": func(c *Config) { c.Node.Roles = []string{"server", "signaling"} },
		"needs the role server": func(c *Config) { c.Node.Roles, c.Cluster.Expect = []string{"media"}, 3 },
		"unknown role \"turn\"": func(c *Config) { c.Node.Roles = []string{"turn"} },
		"is not host:port":      func(c *Config) { c.Media.Listen = "8084" },
		"cluster.voters":        func(c *Config) { c.Cluster.Voters = 4 },
		"cluster.expect":        func(c *Config) { c.Cluster.Expect = -1 },
		"bitrates are in bit/s": func(c *Config) { c.Media.MaxVideoBitrate = 1 },
		"turn.secret: missing":  func(c *Config) { c.TURN.Servers = []string{"turn:turn.example.org"} },
		"turn.secret: a sample": func(c *Config) { c.TURN.Secret = "6d1c17a7-c736-4e22-b02c-e2955b7ecc64" },
		"turn.api_key: a":       func(c *Config) { c.TURN.APIKey = "short" },
		"turn.servers: not the": func(c *Config) { c.TURN.Servers = []string{"turn.example.org:3478"} },
		"turn.stun: \"turn:":    func(c *Config) { c.TURN.STUN = []string{"turn:turn.example.org"} },
		"turn.lifetime: 1s":     func(c *Config) { c.TURN.Lifetime = time.Second },
		"timeouts must be":      func(c *Config) { c.Signaling.HelloTimeout = 0 },
	} {
		c := Default()
		change(&c)
		c = complete(t, c)
		if err := c.Validate(); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Reference writes the table of all keys; docs/configuration.md holds it.
func reference() string {
	var b strings.Builder
	d := Default()
	d.Node.ID = "the host name"
	section(&b, reflect.ValueOf(d), "")
	return b.String()
}

func section(b *strings.Builder, v reflect.Value, path string) {
	for f, fv := range v.Fields() {
		key := join(path, f.Tag.Get("yaml"))
		switch {
		case fv.Kind() == reflect.Struct:
			fmt.Fprintf(b, "\n## `%s`: %s\n\n| key | default | meaning |\n|---|---|---|\n", key, f.Tag.Get("doc"))
			section(b, fv, key)
		default:
			text, err := yaml.Marshal(fv.Interface())
			if err != nil {
				panic(err)
			}
			value := strings.TrimSpace(string(text))
			if fv.Kind() == reflect.Slice {
				value = "[]"
				if s, ok := fv.Interface().([]string); ok {
					value = "[" + strings.Join(s, ", ") + "]"
				}
			}
			fmt.Fprintf(b, "| `%s` | `%s` | %s |\n", key, value, f.Tag.Get("doc"))
			if fv.Kind() == reflect.Slice && fv.Type().Elem().Kind() == reflect.Struct {
				for ef := range fv.Type().Elem().Fields() {
					fmt.Fprintf(b, "| `%s[].%s` | | %s |\n", key, ef.Tag.Get("yaml"), ef.Tag.Get("doc"))
				}
			}
		}
	}
}

func TestDocumentationIsComplete(t *testing.T) {
	const file = "../../docs/configuration.md"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(string(text), "\n## ")
	want := head + reference()
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(text) != want {
		t.Errorf("%s does not describe the keys of this package: UPDATE=1 go test ./node/config writes it anew", file)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("http: {listen: '127.0.0.1:1'}")
	f.Add("signaling: {backends: [{url: a}]}")
	f.Add("a: &a [*a]")
	f.Fuzz(func(t *testing.T, in string) {
		c := Default()
		if err := Decode(strings.NewReader(in), &c); err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("%v is not ErrInvalid", err)
		}
	})
}
