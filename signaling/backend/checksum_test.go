package backend

import (
	"net/http"
	"strings"
	"testing"
)

// The example of the protocol document, section "Backend requests".
const (
	exampleBody     = `{"type":"auth","auth":{"version":"1.0","params":{"hello":"world"}}}`
	exampleRandom   = "afb6b872ab03e3376b31bf0af601067222ff7990335ca02d327071b73c0119c6"
	exampleSecret   = "MySecretValue"
	exampleChecksum = "3c4a69ff328299803ac2879614b707c807b4758cf19450755c60656cac46e3bc"
)

func TestChecksumOfTheDocument(t *testing.T) {
	if got := Checksum([]byte(exampleSecret), exampleRandom, []byte(exampleBody)); got != exampleChecksum {
		t.Errorf("checksum %s", got)
	}
}

func TestVerifyChecksum(t *testing.T) {
	short := strings.Repeat("r", minRandom-1)
	long := strings.Repeat("r", maxRandom+1)
	cases := []struct {
		name, secret, random, body, checksum string
		want                                 bool
	}{
		{"right", exampleSecret, exampleRandom, exampleBody, exampleChecksum, true},
		{"in capitals", exampleSecret, exampleRandom, exampleBody, strings.ToUpper(exampleChecksum), true},
		{"other secret", exampleSecret + "x", exampleRandom, exampleBody, exampleChecksum, false},
		{"other random", exampleSecret, exampleRandom + "0", exampleBody, exampleChecksum, false},
		{"other body", exampleSecret, exampleRandom, exampleBody + " ", exampleChecksum, false},
		{"cut", exampleSecret, exampleRandom, exampleBody, exampleChecksum[:62], false},
		{"longer", exampleSecret, exampleRandom, exampleBody, exampleChecksum + "00", false},
		{"not hex", exampleSecret, exampleRandom, exampleBody, "z" + exampleChecksum[1:], false},
		{"none", exampleSecret, exampleRandom, exampleBody, "", false},
		{"no random", exampleSecret, "", exampleBody, Checksum([]byte(exampleSecret), "", []byte(exampleBody)), false},
		{"random too short", exampleSecret, short, exampleBody, Checksum([]byte(exampleSecret), short, []byte(exampleBody)), false},
		{"random too long", exampleSecret, long, exampleBody, Checksum([]byte(exampleSecret), long, []byte(exampleBody)), false},
		{"no secret", "", exampleRandom, exampleBody, Checksum(nil, exampleRandom, []byte(exampleBody)), false},
		// The border between random and body is not in the sum, as the
		// protocol has it; a moved border must not pass with a short random.
		{"border moved", exampleSecret, exampleRandom[:16], exampleRandom[16:] + exampleBody, exampleChecksum, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := VerifyChecksum([]byte(c.secret), c.random, []byte(c.body), c.checksum); got != c.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestSign(t *testing.T) {
	a, b := http.Header{}, http.Header{}
	Sign(a, []byte("secret"), "https://cloud.example/", []byte("body"))
	Sign(b, []byte("secret"), "https://cloud.example/", []byte("body"))
	if !VerifyChecksum([]byte("secret"), a.Get(HeaderRandom), []byte("body"), a.Get(HeaderChecksum)) {
		t.Error("own checksum not accepted")
	}
	if len(a.Get(HeaderRandom)) != 64 || a.Get(HeaderRandom) == b.Get(HeaderRandom) {
		t.Errorf("random %q, then %q", a.Get(HeaderRandom), b.Get(HeaderRandom))
	}
	if a.Get(HeaderBackend) != "https://cloud.example/" {
		t.Errorf("backend %q", a.Get(HeaderBackend))
	}
}
