package doctor

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/talkd/talkd/signaling/backend"
)

// expect compares the results of the checks, as "check result", and looks for words.
func expect(t *testing.T, name string, got []Finding, words string, want ...string) {
	t.Helper()
	var results, texts []string
	for _, f := range got {
		results = append(results, f.Check+" "+string(f.Result))
		texts = append(texts, f.Text+" -> "+f.Do)
	}
	if have := strings.Join(results, ", "); have != strings.Join(want, ", ") {
		t.Errorf("%s: %s, want %s", name, have, strings.Join(want, ", "))
	}
	all := strings.Join(texts, "\n")
	if !strings.Contains(all, words) {
		t.Errorf("%s: not a word of %q in\n%s", name, words, all)
	}
	for _, f := range got {
		if f.Result == Failed && f.Do == "" {
			t.Errorf("%s: %q, and no way out", name, f.Text)
		}
	}
}

func TestNextcloud(t *testing.T) {
	exactly := time.Duration(0)
	good := backend.Examination{Nextcloud: "32.0.1", Talk: "22.0.1", Ahead: &exactly, Status: 200}
	with := func(change func(*backend.Examination)) backend.Examination {
		e := good
		change(&e)
		return e
	}
	failed := func(status int, err error) backend.Examination {
		return backend.Examination{Status: status, Err: fmt.Errorf("%w: %w", backend.ErrUnreachable, err)}
	}
	odd := func(status int) backend.Examination {
		return backend.Examination{Status: status, Err: backend.ErrBadResponse}
	}
	clock := func(d time.Duration) backend.Examination {
		return with(func(e *backend.Examination) { e.Ahead = &d })
	}
	well := []string{"nextcloud ok", "secret ok", "clock ok", "key ok"}
	for name, tt := range map[string]struct {
		e     backend.Examination
		words string
		want  []string
	}{
		"good":           {good, "Talk 22.0.1", well},
		"no Talk":        {with(func(e *backend.Examination) { e.Talk = "" }), "has no Talk", []string{"nextcloud failed"}},
		"secret":         {with(func(e *backend.Examination) { e.Secret = backend.ErrChecksum }), "talkd backend add https://cloud.example --secret-file", []string{"nextcloud ok", "secret failed", "clock ok", "key ok"}},
		"no answer":      {with(func(e *backend.Examination) { e.Secret = backend.ErrBadResponse }), "POST /ocs/v2.php/apps/spreed", []string{"nextcloud ok", "secret failed", "clock ok", "key ok"}},
		"no key":         {with(func(e *backend.Examination) { e.Key = backend.ErrNoTokenKey }), "tickets", []string{"nextcloud ok", "secret ok", "clock ok", "key warning"}},
		"no clock":       {with(func(e *backend.Examination) { e.Ahead = nil }), "does not tell", []string{"nextcloud ok", "secret ok", "clock note", "key ok"}},
		"clock, a bit":   {clock(-10 * time.Second), "10s behind", []string{"nextcloud ok", "secret ok", "clock warning", "key ok"}},
		"clock, a lot":   {clock(90 * time.Second), "1m30s ahead of", []string{"nextcloud ok", "secret ok", "clock failed", "key ok"}},
		"not served":     {backend.Examination{Err: backend.ErrUnknownBackend}, "talkd backend add https://cloud.example", []string{"nextcloud failed"}},
		"refused":        {failed(0, syscall.ECONNREFUSED), "nothing listens at cloud.example", []string{"nextcloud failed"}},
		"no name":        {failed(0, &net.DNSError{Name: "cloud.example", IsNotFound: true}), "no address for the name cloud.example", []string{"nextcloud failed"}},
		"no network":     {failed(0, &net.DNSError{Name: "cloud.example", Err: "dial udp 192.0.2.1:53: connect: network is unreachable"}), "no way to its DNS server", []string{"nextcloud failed"}},
		"DNS":            {failed(0, &net.DNSError{Name: "cloud.example", Err: "server misbehaving"}), "resolv.conf", []string{"nextcloud failed"}},
		"timeout":        {failed(0, context.DeadlineExceeded), "does not answer in time", []string{"nextcloud failed"}},
		"route":          {failed(0, syscall.EHOSTUNREACH), "no route", []string{"nextcloud failed"}},
		"reset":          {failed(0, syscall.ECONNRESET), "cuts the connection", []string{"nextcloud failed"}},
		"plain":          {failed(0, errors.New("http: server gave HTTP response to HTTPS client")), "plain HTTP", []string{"nextcloud failed"}},
		"certificate":    {failed(0, x509.HostnameError{Certificate: &x509.Certificate{DNSNames: []string{"a", "b", "c", "d", "e"}}, Host: "cloud.example"}), "a, b, c, d and 1 more", []string{"nextcloud failed"}},
		"elsewhere":      {backend.Examination{Status: 302, Location: "https://new.example/login?token=x", Err: backend.ErrBadResponse}, "at https://new.example ->", []string{"nextcloud failed"}},
		"maintenance":    {odd(503), "maintenance", []string{"nextcloud failed"}},
		"a page":         {odd(200), "something else than a Nextcloud", []string{"nextcloud failed"}},
		"proxy":          {odd(502), "does not reach Nextcloud", []string{"nextcloud failed"}},
		"slow proxy":     {odd(504), "in vain", []string{"nextcloud failed"}},
		"path":           {odd(404), "at this path", []string{"nextcloud failed"}},
		"login":          {odd(401), "wants a login", []string{"nextcloud failed"}},
		"too often":      {odd(429), "too many requests", []string{"nextcloud failed"}},
		"internal error": {odd(500), "answered 500", []string{"nextcloud failed"}},
	} {
		expect(t, name, Nextcloud("https://cloud.example", tt.e), tt.words, tt.want...)
	}
}

// TestWordsOfStrangers: whatever a stranger answers, nodes can tell each other what was
// found.
func TestWordsOfStrangers(t *testing.T) {
	found := Nextcloud("https://cloud.example", backend.Examination{
		Err: backend.ErrBadResponse, Status: 302, Location: "https://\xff" + strings.Repeat("x", 1<<20) + "/",
	})
	expect(t, "an odd redirect", found, "answered 302", "nextcloud failed")
	if text := found[0].Text; !utf8.ValidString(text) || len(text) > 4*maxText {
		t.Errorf("%d bytes, valid: %v", len(text), utf8.ValidString(text))
	}
}
