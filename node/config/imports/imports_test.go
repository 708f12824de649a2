package imports

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/talkd/talkd/node/config"
)

var update = flag.Bool("update", false, "write the golden files")

func noEnv(string) (string, bool) { return "", false }

func sample(t *testing.T, name string) File {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return File{name, text}
}

// story is a result as an operator sees it.
func story(t *testing.T, r Result) string {
	t.Helper()
	var b strings.Builder
	if err := r.Config.Write(&b); err != nil {
		t.Fatal(err)
	}
	for _, part := range [][]string{r.NotNeeded, r.NotTaken, r.ToDo} {
		b.WriteString("---\n" + strings.Join(part, "\n") + "\n")
	}
	return b.String()
}

// Whole sets of files, and what becomes of them.
func TestRead(t *testing.T) {
	env := func(name string) (string, bool) { return "internal-SECRET-0", name == "INTERNAL" }
	for name, files := range map[string][]string{
		"all":    {"server.conf", "proxy.conf", "janus.jcfg", "turnserver.conf"},
		"server": {"server.conf"},
		"media":  {"janus.jcfg", "turnserver.conf"},
	} {
		t.Run(name, func(t *testing.T) {
			var in []File
			for _, f := range files {
				in = append(in, sample(t, f))
			}
			r, err := Read(in, "", env)
			if err != nil {
				t.Fatal(err)
			}
			notes := strings.Join(append(append(r.NotNeeded, r.NotTaken...), r.ToDo...), "\n")
			got := story(t, r.SecretsApart("/etc/talkd"))
			if strings.Contains(notes+got, "SECRET") {
				t.Errorf("a secret is told: %s\n%s", notes, got)
			}
			path := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("%s: got\n%s", path, got)
			}
		})
	}
}

// With its secrets the configuration is one that a node starts with.
func TestResultIsAccepted(t *testing.T) {
	r, err := Read([]File{sample(t, "server.conf")}, "https://talk.example.org", func(string) (string, bool) { return "internal-SECRET-0", true })
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := r.Config.Write(&b); err != nil {
		t.Fatal(err)
	}
	c := config.Default()
	if err := config.Decode(strings.NewReader(b.String()), &c); err != nil {
		t.Fatal(err)
	}
	if err := c.Complete(); err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	s := c.Signaling
	if len(s.Backends) != 2 || s.Backends[0].Secret != "cloud-SECRET-2" || s.Backends[1].Secret != "common-SECRET-1" || s.InternalSecret != "internal-SECRET-0" {
		t.Errorf("%+v", s)
	}
}

// Servers of one cluster have the same Nextclouds.
func TestTwoServers(t *testing.T) {
	const text = "[backend]\nbackends = a\n[a]\nurl = https://a.example\nsecret = 0123456789abcdef\n[colour]\ngreen = 1\n"
	r, err := Read([]File{{"f", []byte(text)}, {"g", []byte(text)}}, "", noEnv)
	if err != nil || len(r.Config.Signaling.Backends) != 1 || len(r.NotTaken) != 2 {
		t.Errorf("%v: %+v, %q", err, r.Config.Signaling.Backends, r.NotTaken)
	}
}

// What cannot be read is named by its line, and its value is not told.
func TestReadNamesTheLine(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"[http]\n\nno word SECRET", "f:3: neither [section] nor key = value"},
		{"[http\nlisten = x", "f:1: no [section]"},
		{"[http] SECRET\n", "f:1: no [section]"},
		{"[mcu]\n= x", "f:2: neither"},
		{"[mcu]\nmaxstreambitrate = SECRET", "f:2: [mcu] maxstreambitrate: no number"},
		{"[mcu]\nmaxscreenbitrate = -1", "f:2: [mcu] maxscreenbitrate: no number"},
		{"[backend]\nbackends = a\n[a]\nurl = https://a.example\nsessionlimit = 99999999999", "f:5: [a] sessionlimit: no number"},
		{"[backend]\nbackends = a, b\n[a]\nurl = https://a.example", `f:2: [backend] backends: names "b", of which there is no section`},
		{"[backend]\nbackends = a\n[a]\nurl =", "f:4: [a] url: no URL"},
		{"[backend]\nallowall = SECRET", "f:2: [backend] allowall: neither true nor false"},
		{"[stats]\nallowed_ips = 10.0.0.0/8, SECRET", "f:2: [stats] allowed_ips: neither addresses nor networks"},
		{"[app]\ntrustedproxies = SECRET", "f:2: [app] trustedproxies: neither"},
		{"[clients]\ninternalsecret = $(NOWHERE)", "f:2: [clients] internalsecret: is taken from the environment, where NOWHERE is not set"},
		{"[tokens]\n[bandwidth]\noutgoing = 2000000", "f:3: [bandwidth] outgoing: more than"},
		{"[http]\nlisten = \x1b[2J", "f:2: control characters"},
		{"[http]\nlisten = \xff", "f:2: not UTF-8"},
		{strings.Repeat("#", MaxFile+1), "f: larger than"},

		{"nat: {\n a = 1\n", "f:3: a group that does not end"},
		{"nat: {\n a = \"SECRET\n\"", "f:2: a text that does not end"},
		{"nat: {\n a = ;\n}", "f:2: no value"},
		{"nat: {\n a 1\n}", "f:2: no = or :"},
		{"nat: {\n ? = 1\n}", "f:2: no name"},
		{"nat: {\n a = [1, 2\n", "f:3: a list that does not end"},
		{"nat: {\n /* SECRET", "f:2: a comment that does not end"},
		{"nat: {\n@include \"other\"\n}", "f:2: files that include others"},
		{strings.Repeat("a: {\n", 40), "too many groups"},
		{"a: {\nb = " + strings.Repeat("[", 40), "too many lists"},
		{"nat: {\n keep_private_host = maybe\n}", "f:2: [nat] keep_private_host: neither"},

		{"listening-port=3478\nsome SECRET", "f:2: neither key nor key=value"},

		// Some editors begin a file so.
		{"\ufeff[mcu]\n= x", "f:2: neither [section]"},
		{"\ufeffnat: {\n a 1\n}", "f:2: no = or :"},
		{"\ufefflistening-port=3478\nsome SECRET", "f:2: neither key nor"},
	} {
		_, err := Read([]File{{"f", []byte(tt.text)}}, "", noEnv)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%.60q: %v, want %q", tt.text, err, tt.want)
		}
	}
}

// The cases of which an operator should hear.
func TestNotes(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       string // part of a note
		config     string // part of the configuration
		without    string // not in it
	}{
		{"a reverse proxy on this machine", "[http]\nlisten = 127.0.0.1:8080", "http.public_url", "127.0.0.0/8", "tls_cert"},
		{"a listener for https", "[https]\nlisten = 0.0.0.0:443\ncertificate = a.pem\nkey = b.pem", "http.trusted_proxies", "tls_cert: a.pem", ""},
		{"both", "[http]\nlisten = 127.0.0.1:8080\n[https]\nlisten = 0.0.0.0:443\ncertificate = a.pem\nkey = b.pem", "f:2: [http] listen: talkd has one listener", "listen: 0.0.0.0:443", "8080"},
		{"proxies that are named", "[http]\nlisten = 192.0.2.1:8080\n[app]\ntrustedproxies = 192.0.2.7, 10.0.0.0/8", "", "192.0.2.7/32", ""},
		{"a certificate without a key", "[https]\nlisten = 192.0.2.1:443\ncertificate = a.pem", "tls_cert and tls_key come together", "", ""},
		{"everybody", "[backend]\nallowall = true", "f:2: [backend] allowall: only Nextclouds that are named", "", "backends"},
		{"etcd", "[backend]\nbackendtype = etcd", "talkd backend add", "", ""},
		{"hosts", "[backend]\nallowed = a.example, b.example\nsecret = 0123456789abcdef", "share no rooms", "url: https://b.example", ""},
		{"limits of hosts", "[backend]\nallowed = a.example\nsecret = 0123456789abcdef\nsessionlimit = 7", "", "max_sessions: 7", ""},
		{"limits of nobody", "[backend]\nsessionlimit = 7\nallowhttp = false", "f:2: [backend] sessionlimit: it was for hosts", "", "max_sessions"},
		{"plain HTTP is allowed", "[backend]\nallowhttp = true", "f:2: [backend] allowhttp: a Nextcloud is asked by TLS", "", ""},
		{"plain HTTP", "[backend]\nbackends = a\n[a]\nurl = http://a.example\nsecret = 0123456789abcdef", "a Nextcloud was left out, http://a.example: url", "", "a.example"},
		{"a sample secret", "[backend]\nbackends = a\n[a]\nurl = https://a.example\nsecret = the-shared-secret", "a Nextcloud was left out, https://a.example: secret: a sample value; make one with: openssl rand -hex 32, and enter it in Nextcloud too", "", "a.example"},
		{"a short secret", "[clients]\ninternalsecret = short", "signaling.internal_secret", "internal_secret: short", ""},
		{"no Nextcloud", "[http]\nlisten = 127.0.0.1:8080", "talkd backend add URL", "", ""},
		{"a key nobody knows", "[mcus]\ntype = x", "f:2: [mcus] type: not known", "", ""},
		{"a name for an address", "nat: { nat_1_1_mapping = \"talk.example\" }", "takes addresses, no names", "", "advertise"},
		{"TURN servers", "[turn]\nservers = turn:a.example:3478?transport=udp, turns:a.example:5349?transport=tcp, stun:a.example\nsecret = 0123456789abcdef\napikey = 0123456789abcdef", "talkd is no TURN server", "- turns:a.example:5349?transport=tcp", "f:2"},
		{"a TURN server that is none", "[turn]\nservers = a.example:3478", "f:2: [turn] servers: one of them is not written as turn:", "", "servers:"},
		{"the sample of TURN", "[turn]\nservers = turn:a.example\nsecret = 6d1c17a7-c736-4e22-b02c-e2955b7ecc64", "turn.secret: a sample value, or shorter than 16; make one with: openssl rand -hex 32, and give it to the TURN server (coturn: static-auth-secret) and Nextcloud (settings of Talk) too", "", ""},
		{"TURN servers without a secret", "[turn]\nservers = turn:a.example", "turn.secret: missing", "", ""},
		{"coturn with users", "listening-port=3478\nlt-cred-mech\nuser=a:b", "f:3: user: credentials are made of a shared secret", "", "\nturn:"},
		{"coturn without an address", "use-auth-secret\nstatic-auth-secret=0123456789abcdef\nlistening-ip=0.0.0.0", "turn.servers: the URIs of coturn", "secret: 0123456789abcdef", "servers:"},
		{"coturn behind NAT", "use-auth-secret\nstatic-auth-secret=0123456789abcdef\nexternal-ip=192.0.2.7/10.0.0.7\nlistening-ip=10.0.0.7\nlistening-port=443\nno-udp\ncert=/x", "turns:turn.example.org:5349", "- turn:192.0.2.7:443?transport=tcp", "- turn:192.0.2.7:443?transport=udp"},
		{"coturn with two secrets", "static-auth-secret=0123456789abcdef\nstatic-auth-secret=fedcba9876543210\nlistening-port=99999\nlistening-ip=192.0.2.1", "f:2: static-auth-secret: there is one already", "- turn:192.0.2.1:3478?transport=udp", ""},
		{"coturn for everybody", "listening-port=3478\nno-auth", "f:2: no-auth: coturn relays for everybody", "", "\nturn:"},
		{"coturn's own", "listening-port=3478\nfingerprint", "f:2: fingerprint: coturn goes on", "", "\nturn:"},
		{"a last line without an end", "[http]\r\nlisten = 127.0.0.1:1\r\n[stats]\r\nallowed_ips = ::1", "", "::1/128", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := Read([]File{{"f", []byte(tt.text)}}, "", noEnv)
			if err != nil {
				t.Fatal(err)
			}
			conf, notes, _ := strings.Cut(story(t, r), "---\n")
			if !strings.Contains(notes, tt.want) || !strings.Contains(conf, tt.config) || tt.without != "" && strings.Contains(conf, tt.without) {
				t.Errorf("%s\n--- %s", conf, notes)
			}
		})
	}
}

// Whatever is in the files: no panic, and what comes of them can be written and read again.
func FuzzRead(f *testing.F) {
	for _, name := range []string{"server.conf", "proxy.conf", "janus.jcfg", "turnserver.conf"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := Read([]File{{"f", text}}, "", func(string) (string, bool) { return "0123456789abcdef", true })
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("more than one line: %q", err)
			}
			return
		}
		var b strings.Builder
		if err := r.Config.Write(&b); err != nil {
			t.Fatal(err)
		}
		c := config.Default()
		if err := config.Decode(strings.NewReader(b.String()), &c); err != nil {
			t.Errorf("%v\n%s", err, b.String())
		}
	})
}
