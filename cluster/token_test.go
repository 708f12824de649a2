package cluster

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestToken(t *testing.T) {
	pin := pinOf(leafAuthority(t).cert)
	a, b := newToken(pin), newToken(pin)
	if a.secret == b.secret {
		t.Error("two tokens of one secret")
	}
	text := a.text()
	got, err := parseToken(text)
	if err != nil || got != a {
		t.Fatalf("reads back as %v, %v", got, err)
	}
	if strings.ContainsAny(text, "+/= \n") {
		t.Errorf("%d characters, of which some need quoting", len(text))
	}
	for _, shown := range []string{fmt.Sprint(a), fmt.Sprintf("%v %s", a, a)} {
		if strings.Contains(shown, text[len(tokenPrefix):len(tokenPrefix)+8]) || strings.Contains(shown, text[len(text)-8:]) {
			t.Errorf("printing shows the token: %s", shown)
		}
	}
	// One character mistyped anywhere is told from a wrong token.
	for i := range text {
		for _, c := range []byte("Ax-") {
			if text[i] == c {
				continue
			}
			if _, err := parseToken(text[:i] + string(c) + text[i+1:]); !errors.Is(err, ErrBadToken) {
				t.Fatalf("character %d mistyped: %v", i, err)
			}
		}
	}
}

func TestBadToken(t *testing.T) {
	good := newToken([32]byte{1}).text()
	for name, s := range map[string]string{
		"empty":            "",
		"prefix only":      tokenPrefix,
		"no prefix":        good[len(tokenPrefix):],
		"another prefix":   "tj2_" + good[len(tokenPrefix):],
		"capitals":         strings.ToUpper(good),
		"cut":              good[:len(good)-1],
		"too long":         good + "A",
		"much too long":    good + strings.Repeat("A", 1<<20),
		"blank before":     " " + good,
		"blank behind":     good + " ",
		"line break":       good + "\n",
		"line break in it": good[:20] + "\n" + good[20:len(good)-1],
		"padded":           good + "==",
		"other alphabet":   tokenPrefix + strings.Repeat("+", base64.RawURLEncoding.EncodedLen(tokenSize)),
		"zeros":            tokenPrefix + strings.Repeat("A", base64.RawURLEncoding.EncodedLen(tokenSize)),
	} {
		tok, err := parseToken(s)
		if !errors.Is(err, ErrBadToken) || tok != (joinToken{}) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && len(s) > len(tokenPrefix) && strings.Contains(err.Error(), s) {
			t.Errorf("%s: the error shows the token", name)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add(joinToken{}.text())
	f.Add(tokenPrefix)
	f.Fuzz(func(t *testing.T, s string) {
		tok, err := parseToken(s)
		switch {
		case err == nil && tok.text() != s:
			t.Fatalf("two spellings of one token: %q and %q", s, tok.text())
		case err != nil && !errors.Is(err, ErrBadToken):
			t.Fatalf("%v", err)
		}
	})
}
