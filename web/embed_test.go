package web

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

// answer is what the handler said.
type answer struct {
	StatusCode int
	Header     http.Header
	Body       string
}

func get(t *testing.T, h http.Handler, target string, header ...string) answer {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return answer{w.Code, w.Header(), w.Body.String()}
}

func TestPages(t *testing.T) {
	h := Handler(Config{})
	for target, want := range map[string]int{
		"/":                                   http.StatusOK,
		"/?redirect=0":                        http.StatusOK,
		"/call/abc123":                        http.StatusOK,
		"/call/abc123?redirect=0":             http.StatusOK,
		"/call/":                              http.StatusNotFound,
		"/call/a/b":                           http.StatusNotFound,
		"/call/%3Cscript%3E":                  http.StatusNotFound,
		"/call/" + strings.Repeat("a", 65):    http.StatusNotFound,
		"/index.html":                         http.StatusNotFound,
		"/assets/":                            http.StatusNotFound,
		"/assets/missing.js":                  http.StatusNotFound,
		"/ocs/v2.php/cloud/capabilities":      http.StatusNotFound,
		"/favicon.svg":                        http.StatusOK,
		"/assets/..%2f..%2fembed.go":          http.StatusNotFound,
		"/assets/index.html":                  http.StatusNotFound,
		"/call/abc123/" + "../../favicon.svg": http.StatusMovedPermanently,
	} {
		res := get(t, h, target)
		got := res.StatusCode
		if want == http.StatusMovedPermanently && (got == http.StatusTemporaryRedirect || got == http.StatusPermanentRedirect) {
			continue // ServeMux cleans the path; which redirect it uses is its own business
		}
		if got != want {
			t.Errorf("GET %s: status %d, want %d", target, got, want)
		}
		if want == http.StatusOK && !strings.HasPrefix(target, "/favicon") {
			if b := res.Body; !strings.Contains(b, `<div id="app">`) {
				t.Errorf("GET %s: not the page", target)
			}
			if cc := res.Header.Get("Cache-Control"); cc != "no-cache" {
				t.Errorf("GET %s: Cache-Control %q", target, cc)
			}
		}
	}
}

func TestOnlyReads(t *testing.T) {
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil)
	w := httptest.NewRecorder()
	Handler(Config{}).ServeHTTP(w, r)
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST /: %d", w.Code)
	}
}

// The page of the committed build must work under its own policy: it names
// only files that are there, and carries nothing inline.
func TestBuiltPage(t *testing.T) {
	h := Handler(Config{})
	page := get(t, h, "/").Body
	refs := regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(page, -1)
	if len(refs) < 3 {
		t.Fatalf("the page names %d files, want script, style and icon", len(refs))
	}
	for _, ref := range refs {
		if !strings.HasPrefix(ref[1], "/") || strings.HasPrefix(ref[1], "//") {
			t.Errorf("%s is not on this server", ref[1])
			continue
		}
		res := get(t, h, ref[1])
		if res.StatusCode != http.StatusOK {
			t.Errorf("GET %s: %d", ref[1], res.StatusCode)
		}
		immutable := strings.Contains(res.Header.Get("Cache-Control"), "immutable")
		if hashed := strings.HasPrefix(ref[1], "/assets/"); immutable != hashed {
			t.Errorf("%s: immutable is %t", ref[1], immutable)
		}
		if ct := res.Header.Get("Content-Type"); ct == "application/octet-stream" {
			t.Errorf("%s: no content type", ref[1])
		}
	}
	if regexp.MustCompile(`<script[^>]*>\s*[^<\s]|<style|\son\w+=|\sstyle=`).MatchString(page) {
		t.Error("the page has inline code or style, which its policy forbids")
	}
}

func TestHeaders(t *testing.T) {
	origins := []string{"http://127.0.0.1:8080"}
	h := Handler(Config{Origins: func() []string { return origins }})
	header := get(t, h, "/").Header
	csp := header.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "script-src 'self';", "style-src 'self';",
		"connect-src 'self' http://127.0.0.1:8080 ws://127.0.0.1:8080;", "frame-ancestors 'none'"} {
		if !strings.Contains(csp, want) {
			t.Errorf("policy %q lacks %q", csp, want)
		}
	}
	if strings.Contains(csp, "unsafe") {
		t.Errorf("policy %q allows inline code", csp)
	}
	for name, want := range map[string]string{
		"X-Content-Type-Options": "nosniff",
		"Referrer-Policy":        "no-referrer",
	} {
		if got := header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	for _, want := range []string{"camera=(self)", "microphone=(self)", "display-capture=(self)"} {
		if got := header.Get("Permissions-Policy"); !strings.Contains(got, want) {
			t.Errorf("Permissions-Policy %q lacks %q", got, want)
		}
	}

	origins = append(origins, "https://n2.example.org") // a node joins
	if csp := get(t, h, "/").Header.Get("Content-Security-Policy"); !strings.Contains(csp, "wss://n2.example.org") {
		t.Errorf("policy %q lacks the node that joined", csp)
	}
}

func TestConnectSources(t *testing.T) {
	got := strings.Join(connectSources([]string{
		"https://a.example/", "https://a.example/path?x", "http://[::1]:8080", "ftp://b.example", "https://*",
		"https://c.example;script-src *", "https://d.example, https://e.example", "//f.example", "", "https://", "%zz",
	}), " ")
	want := "http://[::1]:8080 https://a.example ws://[::1]:8080 wss://a.example"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRevalidateAndCompress(t *testing.T) {
	h := Handler(Config{})
	script := regexp.MustCompile(`src="([^"]+\.js)"`).FindStringSubmatch(get(t, h, "/").Body)
	if script == nil {
		t.Fatal("the page names no script")
	}
	plain := get(t, h, script[1])
	packed := get(t, h, script[1], "Accept-Encoding", "br, gzip;q=0.8")
	if packed.Header.Get("Content-Encoding") != "gzip" {
		t.Fatal("not compressed")
	}
	if plain.Header.Get("ETag") == packed.Header.Get("ETag") {
		t.Error("two representations, one ETag")
	}
	zr, err := gzip.NewReader(strings.NewReader(packed.Body))
	if err != nil {
		t.Fatal(err)
	}
	unpacked, err := io.ReadAll(zr)
	if err != nil {
		t.Fatal(err)
	}
	if string(unpacked) != plain.Body {
		t.Error("the compressed script is another one")
	}
	if res := get(t, h, script[1], "Accept-Encoding", "gzip;q=0"); res.Header.Get("Content-Encoding") != "" {
		t.Error("compressed although refused")
	}
	etag := get(t, h, "/").Header.Get("ETag")
	if res := get(t, h, "/", "If-None-Match", etag); res.StatusCode != http.StatusNotModified {
		t.Errorf("revalidation: %d, want 304", res.StatusCode)
	}
}
