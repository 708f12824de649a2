package backend

import (
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestNewRegistryRefuses(t *testing.T) {
	for _, c := range []struct {
		name      string
		instances []Instance
	}{
		{"empty URL", []Instance{{URL: "", Secret: "s"}}},
		{"no scheme", []Instance{{URL: "cloud.example", Secret: "s"}}},
		{"other scheme", []Instance{{URL: "ftp://cloud.example", Secret: "s"}}},
		{"plain HTTP", []Instance{{URL: "http://cloud.example", Secret: "s"}}},
		{"plain HTTP, private", []Instance{{URL: "http://10.0.0.1", Secret: "s"}}},
		{"no host", []Instance{{URL: "https:///nextcloud", Secret: "s"}}},
		{"user", []Instance{{URL: "https://u:p@cloud.example", Secret: "s"}}},
		{"query", []Instance{{URL: "https://cloud.example/?a=b", Secret: "s"}}},
		{"fragment", []Instance{{URL: "https://cloud.example/#a", Secret: "s"}}},
		{"dots", []Instance{{URL: "https://cloud.example/a/../b", Secret: "s"}}},
		{"encoded slash", []Instance{{URL: "https://cloud.example/a%2fb", Secret: "s"}}},
		{"no secret", []Instance{{URL: "https://cloud.example", Secret: ""}}},
		{"twice", []Instance{{URL: "https://cloud.example", Secret: "s"}, {URL: "https://CLOUD.example:443/", Secret: "t"}}},
		{"endless", []Instance{{URL: "https://cloud.example/" + strings.Repeat("a", maxURL), Secret: "s"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := NewRegistry(c.instances); !errors.Is(err, ErrConfig) {
				t.Errorf("NewRegistry: %v", err)
			}
		})
	}
}

func TestResolve(t *testing.T) {
	instances := []Instance{
		{URL: "https://cloud.example/", Secret: "root"},
		{URL: "https://cloud.example/team", Secret: "team"},
		{URL: "https://cloud.example/team/a", Secret: "team a"},
		{URL: "https://port.example:8443", Secret: "port"},
		{URL: "https://bücher.example", Secret: "umlaut"},
		{URL: "http://localhost:8080/nc", Secret: "local"},
		{URL: "http://[::1]:8080", Secret: "v6"},
		{URL: "https://192.168.1.2", Secret: "private"},
	}
	r, err := NewRegistry(instances)
	if err != nil {
		t.Fatal(err)
	}
	if r.Len() != len(instances) {
		t.Errorf("Len %d", r.Len())
	}
	const none = ""
	for given, want := range map[string]string{
		"https://cloud.example":                        "root",
		"https://cloud.example/":                       "root",
		"https://CLOUD.EXAMPLE:443/ocs/v2.php/apps/sp": "root",
		"https://cloud.example/team":                   "team",
		"https://cloud.example/team/":                  "team",
		"https://cloud.example/team/ocs":               "team",
		"https://cloud.example/teams":                  "root",
		"https://cloud.example/team/a/ocs":             "team a",
		"https://cloud.example/team/ab":                "team",
		"https://port.example:8443/x":                  "port",
		"https://bücher.example/x":                     "umlaut",
		"https://xn--bcher-kva.example/x":              "umlaut",
		"http://localhost:8080/nc/ocs":                 "local",
		"http://[::1]:8080/ocs":                        "v6",
		"https://192.168.1.2/ocs":                      "private",

		"http://cloud.example/":                     none, // another scheme
		"https://cloud.example:8443/":               none, // another port
		"https://port.example/":                     none,
		"https://cloud.example.evil.example/":       none,
		"https://evil.example/cloud.example":        none,
		"https://cloud.example@evil.example/":       none,
		"https://cloud.example:443@evil.example/":   none,
		"https://evil.example#@cloud.example/":      none,
		"https://evil.example\\@cloud.example/":     none,
		"https://cloud.example/team/../../x":        none,
		"https://cloud.example/%2e%2e/":             none,
		"https://cloud.example//team":               none,
		"https://cloud.example/?url=x":              none,
		"http://localhost:8080/":                    none, // above the configured path
		"http://localhost:8080/ncx":                 none,
		"http://127.0.0.1:8080/nc":                  none, // another name for it
		"http://169.254.169.254/":                   none,
		"//cloud.example/":                          none,
		"cloud.example":                             none,
		"file:///etc/passwd":                        none,
		"https://":                                  none,
		"https://cloud.example\r\nHost: x/":         none,
		"":                                          none,
		strings.Repeat("https://cloud.example", 99): none,
	} {
		at, err := r.resolve(given)
		switch {
		case want == none && !errors.Is(err, ErrUnknownBackend):
			t.Errorf("Resolve(%.80q): %v, want ErrUnknownBackend", given, err)
		case want != none && (err != nil || string(at.of.secret) != want):
			t.Errorf("Resolve(%q): %v, want %s", given, err, want)
		}
		if err != nil && given != "" && strings.Contains(err.Error(), given) {
			t.Errorf("Resolve(%.80q) quotes it: %v", given, err)
		}
	}
}

func TestBackendIDs(t *testing.T) {
	configured := []Instance{{URL: "https://cloud.example/", Secret: "a"}, {URL: "https://other.example", Secret: "b"}}
	r, err := NewRegistry(configured)
	if err != nil {
		t.Fatal(err)
	}
	reversed := slices.Clone(configured)
	slices.Reverse(reversed)
	reversed[1].URL = "HTTPS://Cloud.example:443" // the same, written otherwise
	reversed[1].Secret = "rotated"
	again, err := NewRegistry(reversed)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range configured {
		id, err := r.Resolve(c.URL)
		if err != nil {
			t.Fatal(err)
		}
		if same, err := again.Resolve(c.URL); err != nil || same != id {
			t.Errorf("id of %s: %s, then %s (%v)", c.URL, id, same, err)
		}
		if !regexp.MustCompile(`^[0-9a-z]{8,32}$`).MatchString(string(id)) {
			t.Errorf("id %q", id)
		}
	}
	if _, err := r.get("nobody", ""); !errors.Is(err, ErrUnknownBackend) {
		t.Errorf("get: %v", err)
	}
}

func TestVerifyRequest(t *testing.T) {
	one := Instance{URL: "https://cloud.example", Secret: "one"}
	two := Instance{URL: "https://other.example", Secret: "two"}
	single, err := NewRegistry([]Instance{one})
	if err != nil {
		t.Fatal(err)
	}
	both, err := NewRegistry([]Instance{one, two})
	if err != nil {
		t.Fatal(err)
	}
	body := []byte(`{"type":"delete"}`)
	signed := func(in Instance, base string) http.Header {
		h := http.Header{}
		Sign(h, []byte(in.Secret), base, body)
		if base == "" {
			h.Del(HeaderBackend)
		}
		return h
	}
	for _, c := range []struct {
		name string
		r    *Registry
		h    http.Header
		want error
	}{
		{"right", both, signed(one, one.URL), nil},
		{"right, slash at the end", both, signed(two, two.URL+"/"), nil},
		{"one instance, no header", single, signed(one, ""), nil},
		{"two instances, no header", both, signed(one, ""), ErrUnknownBackend},
		{"unknown instance", both, signed(one, "https://evil.example"), ErrUnknownBackend},
		{"one signs for another", both, signed(one, two.URL), ErrChecksum},
		{"unsigned", both, http.Header{HeaderBackend: {one.URL}}, ErrChecksum},
		{"nothing", single, http.Header{}, ErrChecksum},
	} {
		t.Run(c.name, func(t *testing.T) {
			id, err := c.r.VerifyRequest(c.h, body)
			if !errors.Is(err, c.want) {
				t.Fatalf("VerifyRequest: %v, want %v", err, c.want)
			}
			if (err == nil) != (id != "") {
				t.Errorf("id %q beside %v", id, err)
			}
		})
	}
	h := signed(one, one.URL)
	if _, err := both.VerifyRequest(h, append(body, ' ')); !errors.Is(err, ErrChecksum) {
		t.Errorf("changed body: %v", err)
	}
}
