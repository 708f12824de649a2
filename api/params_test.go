package api

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestParams(t *testing.T) {
	p := params{"text": " a ü ", "bad": "\xff", "control": "a\tb", "n": "7", "far": "99", "word": "x", "yes": "TRUE", "no": "0", "maybe": "2", "empty": ""}
	if v, err := p.text("text", 3); v != "a ü" || err != nil {
		t.Errorf("%q %v", v, err)
	}
	for _, name := range []string{"bad", "control"} {
		if _, err := p.text(name, 9); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if _, err := p.text("text", 2); err == nil {
		t.Error("longer than allowed")
	}
	if v, err := p.secret("text", 9); v != " a ü " || err != nil {
		t.Errorf("%q %v", v, err)
	}
	if _, err := p.secret("bad", 9); err == nil {
		t.Error("secret of no text was taken")
	}
	for name, want := range map[string]int{"n": 7, "empty": 3, "none": 3} {
		if v, err := p.number(name, 3, 0, 9); v != want || err != nil {
			t.Errorf("%s: %d %v", name, v, err)
		}
	}
	for _, name := range []string{"far", "word"} {
		if _, err := p.number(name, 3, 0, 9); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	for name, want := range map[string]bool{"yes": true, "no": false, "empty": false, "none": false} {
		if v, err := p.truth(name); v != want || err != nil {
			t.Errorf("%s: %t %v", name, v, err)
		}
	}
	if _, err := p.truth("maybe"); err == nil {
		t.Error("maybe was taken")
	}
}

// FuzzReadParams: whatever comes, it is bounded texts or a refusal to the
// client, and what can be read as text is text.
func FuzzReadParams(f *testing.F) {
	f.Add("a=1&a=2", "application/json", `{"a":1,"b":"x","c":true,"d":null,"e":[],"f":{}}`)
	f.Add("", "application/x-www-form-urlencoded", "a=%20&b=ü")
	f.Add("x", "application/json; charset=utf-8", `[]`)
	f.Add("%", "text/plain", "x")
	f.Add("", "application/json", `{"a":1e400}`)
	f.Fuzz(func(t *testing.T, query, contentType, body string) {
		r := httptest.NewRequestWithContext(t.Context(), "POST", "/", strings.NewReader(body))
		r.URL = &url.URL{Path: "/", RawQuery: query}
		r.Header.Set("Content-Type", contentType)
		p, err := readParams(httptest.NewRecorder(), r)
		if err != nil {
			if status := failureOf(err).status; status < 400 || status >= http.StatusInternalServerError {
				t.Fatalf("%d for %v", status, err)
			}
			return
		}
		if len(p) > maxParams {
			t.Fatalf("%d parameters", len(p))
		}
		for name := range p {
			if v, err := p.text(name, 64); err == nil && (!utf8.ValidString(v) || utf8.RuneCountInString(v) > 64) {
				t.Fatalf("%q passed as a text", v)
			}
			if _, err := p.number(name, 0, -5, 5); err != nil && failureOf(err).status != http.StatusBadRequest {
				t.Fatal(err)
			}
			if _, err := p.truth(name); err != nil && failureOf(err).status != http.StatusBadRequest {
				t.Fatal(err)
			}
		}
	})
}
