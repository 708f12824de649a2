package cluster

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/talkd/talkd/store"
)

func TestSeal(t *testing.T) {
	s := newSealer("test", leafRing{leafSecret(1)})
	for _, plain := range [][]byte{nil, {}, {0}, []byte("n1 alice"), bytes.Repeat([]byte("x"), 4000)} {
		one, two := s.Seal(plain), s.Seal(plain)
		if one == two {
			t.Error("sealing twice gives the same text")
		}
		if strings.ContainsAny(one, "+/=\n") {
			t.Errorf("%q is not fit for a URL", one)
		}
		for _, sealed := range []string{one, two} {
			if got, err := s.Open(sealed); err != nil || !bytes.Equal(got, plain) {
				t.Fatalf("%q opens as %q, %v", plain, got, err)
			}
		}
	}
}

// Any change of a sealed text spoils it, and the error tells nothing.
func TestOpenRefuses(t *testing.T) {
	ring := leafRing{leafSecret(1), leafSecret(2)}
	s := newSealer("test", ring)
	sealed := s.Seal([]byte("n1 alice"))
	raw, err := base64.RawURLEncoding.DecodeString(sealed)
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		for bit := range 8 {
			b := bytes.Clone(raw)
			b[i] ^= 1 << bit
			if plain, err := s.Open(base64.RawURLEncoding.EncodeToString(b)); !errors.Is(err, ErrNotSealed) || plain != nil {
				t.Fatalf("byte %d, bit %d flipped: %q, %v", i, bit, plain, err)
			}
		}
	}
	for n := range raw {
		if _, err := s.Open(base64.RawURLEncoding.EncodeToString(raw[:n])); !errors.Is(err, ErrNotSealed) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
	for name, text := range map[string]string{
		"empty":             "",
		"padded":            sealed + "=",
		"longer":            sealed + "A",
		"line break":        sealed + "\n",
		"line break in it":  sealed[:9] + "\r\n" + sealed[9:],
		"other alphabet":    base64.RawStdEncoding.EncodeToString([]byte{sealFormat, 0xff, 0xff, 0xff, 0xff, 0xff}),
		"another format":    base64.RawURLEncoding.EncodeToString(append([]byte{sealFormat + 1}, raw[1:]...)),
		"beyond all bounds": strings.Repeat("A", maxSealed+1),
		"another purpose":   newSealer("tesd", ring).Seal([]byte("n1 alice")),
		"no purpose":        newSealer("", ring).Seal([]byte("n1 alice")),
		"another cluster":   newSealer("test", leafRing{{Name: sealRing, ID: 2, Key: make([]byte, sealKeySize)}}).Seal([]byte("n1 alice")),
		"an unknown key":    newSealer("test", leafRing{leafSecret(9)}).Seal([]byte("n1 alice")),
	} {
		if text == "" && name != "empty" {
			t.Fatalf("%s: nothing was sealed", name)
		}
		if plain, err := s.Open(text); !errors.Is(err, ErrNotSealed) || err.Error() != ErrNotSealed.Error() || plain != nil {
			t.Errorf("%s: %q, %v", name, plain, err)
		}
	}
}

// What is not beyond the bound opens, also at its edge.
func TestOpenAtTheBound(t *testing.T) {
	s := newSealer("test", leafRing{leafSecret(1)})
	overhead := sealHeader + 12 + 16
	most := base64.RawURLEncoding.DecodedLen(maxSealed) - overhead
	if _, err := s.Open(s.Seal(make([]byte, most))); err != nil {
		t.Errorf("%d bytes: %v", most, err)
	}
	if _, err := s.Open(s.Seal(make([]byte, most+1))); !errors.Is(err, ErrNotSealed) {
		t.Errorf("%d bytes: %v", most+1, err)
	}
}

// The newest key seals, all of the ring open, and one that was taken out opens
// no more, also where it was used before.
func TestSealRotation(t *testing.T) {
	state := leafState(t)
	index := uint64(0)
	apply := func(c store.Command) {
		t.Helper()
		index++
		if r, _, err := state.Apply(index, c); err != nil || r.Err != nil {
			t.Fatalf("%v, %v", r.Err, err)
		}
	}
	seals, opens := newSealer("test", state), newSealer("test", state)
	if got := seals.Seal([]byte("x")); got != "" {
		t.Errorf("sealed as %q without a key", got)
	}
	if _, err := opens.Open("AQAAAAE"); !errors.Is(err, ErrNotSealed) {
		t.Errorf("opened without a key: %v", err)
	}
	apply(store.NewClusterInit(leafNow, store.Identity{ClusterID: "c", CACert: []byte("x"), SealedCAKey: []byte("x"), SealedGossipKey: []byte("x")}, leafSecret(1)))
	first := seals.Seal([]byte("one"))
	apply(store.NewPutSecret(leafNow, leafSecret(2)))
	second := seals.Seal([]byte("two"))
	// Not only the text: the key id in it is the newer one.
	if b, _ := base64.RawURLEncoding.DecodeString(second); len(b) < sealHeader || b[4] != 2 {
		t.Error("not sealed with the newest key")
	}
	for sealed, want := range map[string]string{first: "one", second: "two"} {
		if got, err := opens.Open(sealed); err != nil || string(got) != want {
			t.Errorf("%q, %v, want %q", got, err, want)
		}
	}
	apply(store.NewRemoveSecret(leafNow, sealRing, 1))
	for _, s := range []*Sealer{seals, opens} {
		if _, err := s.Open(first); !errors.Is(err, ErrNotSealed) {
			t.Errorf("a removed key opens: %v", err)
		}
		if _, err := s.Open(second); err != nil {
			t.Error(err)
		}
	}
	if len(opens.aeads) != 1 {
		t.Errorf("%d ciphers are kept", len(opens.aeads))
	}
}

func TestSealerConcurrently(t *testing.T) {
	s := newSealer("test", leafRing{leafSecret(1)})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if _, err := s.Open(s.Seal([]byte("x"))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func FuzzSealerOpen(f *testing.F) {
	s := newSealer("fuzz", leafRing{leafSecret(1), leafSecret(2)})
	f.Add(s.Seal(nil))
	f.Add(s.Seal([]byte("n1 alice")))
	f.Fuzz(func(t *testing.T, text string) {
		plain, err := s.Open(text)
		if err != nil {
			if !errors.Is(err, ErrNotSealed) || plain != nil {
				t.Fatalf("%q, %v", plain, err)
			}
			return
		}
		// Whoever finds such a text has it from the corpus or broke AES-GCM;
		// then it must at least be the only spelling.
		b, err := base64.RawURLEncoding.Strict().DecodeString(text)
		if err != nil || base64.RawURLEncoding.EncodeToString(b) != text {
			t.Fatalf("%q is not how it was sealed", text)
		}
		if again, err := s.Open(s.Seal(plain)); err != nil || !bytes.Equal(again, plain) {
			t.Fatalf("sealed again it is %q, %v", again, err)
		}
	})
}

func BenchmarkSealer(b *testing.B) {
	s := newSealer("bench", leafRing{leafSecret(1)})
	plain := make([]byte, 64)
	sealed := s.Seal(plain)
	b.Run("seal", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.Seal(plain)
		}
	})
	b.Run("open", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.Open(sealed); err != nil {
				b.Fatal(err)
			}
		}
	})
}
