package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"testing"
	"time"

	"github.com/talkd/talkd/store"
)

// leafNow is when the tests of the leaves happen.
var leafNow = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// leafAuthority makes a CA that is valid now.
func leafAuthority(t testing.TB) *authority {
	t.Helper()
	ca, err := newAuthority("c-test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func leafKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// leafState is an empty replicated state.
func leafState(t testing.TB) *store.State {
	t.Helper()
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// leafRing are replicated secrets without a state.
type leafRing []store.Secret

func (r leafRing) Secret(name string, id uint32) (store.Secret, bool) {
	for _, s := range r {
		if s.Name == name && s.ID == id {
			return s, true
		}
	}
	return store.Secret{}, false
}

func (r leafRing) Secrets(name string) []store.Secret {
	var ring []store.Secret
	for _, s := range r {
		if s.Name == name {
			ring = append(ring, s)
		}
	}
	return ring
}

// leafSecret is the same for the same id, so that sealed texts can be kept in
// the corpus.
func leafSecret(id uint32) store.Secret {
	key := make([]byte, sealKeySize)
	for i := range key {
		key[i] = byte(id) + byte(i)
	}
	return store.Secret{Name: sealRing, ID: id, Key: key}
}
