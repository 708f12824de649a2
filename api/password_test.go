package api

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestPasswords(t *testing.T) {
	p := newPasswords(argonMemory)
	hash, err := p.hash(t.Context(), password)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("hash %s", hash)
	}
	other, err := p.hash(t.Context(), password)
	if err != nil || other == hash {
		t.Errorf("two hashes of one password are the same: %v", err)
	}
	for _, c := range []struct {
		password string
		right    bool
	}{{password, true}, {password + " ", false}, {"", false}} {
		if right, err := p.verify(t.Context(), hash, c.password); right != c.right || err != nil {
			t.Errorf("%q: %t %v", c.password, right, err)
		}
	}
	if right, err := p.verify(t.Context(), p.unknown, password); right || err != nil {
		t.Errorf("nobody's password: %t %v", right, err)
	}
}

// A hash that another implementation made (test vector of the reference one).
func TestForeignHash(t *testing.T) {
	const hash = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	if right, err := newPasswords(argonMemory).verify(t.Context(), hash, "password"); !right || err != nil {
		t.Errorf("%t %v", right, err)
	}
}

func TestBadHashes(t *testing.T) {
	p := newPasswords(argonMemory)
	const salt, key = "c29tZXNhbHQ", "RdescudvJCsgt3ub+b5dWRWJTmaaJObG"
	good := "$argon2id$v=19$m=64,t=1,p=1$" + salt + "$" + key
	if _, err := p.verify(t.Context(), good, "x"); err != nil {
		t.Errorf("%s: %v", good, err)
	}
	for _, bad := range []string{
		"", "plain", "$argon2i$v=19$m=64,t=1,p=1$" + salt + "$" + key, "$argon2id$v=16$m=64,t=1,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=64,t=1,p=1,x=1$" + salt + "$" + key, "$argon2id$v=19$m=+64,t=1,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=9999999,t=1,p=1$" + salt + "$" + key, "$argon2id$v=19$m=64,t=0,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=64,t=1,p=0$" + salt + "$" + key, "$argon2id$v=19$m=64,t=1,p=1$" + salt + "$",
		"$argon2id$v=19$m=64,t=1,p=1$$" + key, "$argon2id$v=19$m=64,t=1,p=1$!$" + key, good + "$",
	} {
		if _, err := p.verify(t.Context(), bad, "x"); !errors.Is(err, errBadHash) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// Who hashes and who waits is bounded; nobody waits for ever.
func TestPasswordsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPasswords(argonMemory)
		for range cap(p.running) {
			p.running <- struct{}{} // somebody hashes
		}
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan error, 1)
		go func() {
			_, err := p.hash(ctx, password)
			gone <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("caller gone: %v", err)
		}
		waiting := make(chan error, maxWaiting)
		for range maxWaiting {
			go func() {
				_, err := p.hash(t.Context(), password)
				waiting <- err
			}()
		}
		synctest.Wait()
		if _, err := p.hash(t.Context(), password); !errors.Is(err, ErrBusy) {
			t.Errorf("one too many: %v", err)
		}
		begin := time.Now()
		for range maxWaiting {
			if err := <-waiting; !errors.Is(err, ErrBusy) {
				t.Errorf("waited: %v", err)
			}
		}
		if waited := time.Since(begin); waited != waitTimeout {
			t.Errorf("waited %v, want %v", waited, waitTimeout)
		}
		if len(p.places) != 0 {
			t.Errorf("%d places were kept", len(p.places))
		}
	})
}

func TestRememberedPasswords(t *testing.T) {
	p := newPasswords(argonMemory)
	p.remember(t0, "hash", "right")
	if !p.recall(t0.Add(verifiedLifetime-1), "hash", "right") {
		t.Error("forgotten")
	}
	for _, c := range []struct {
		at             time.Time
		hash, password string
	}{{t0, "hash", "wrong"}, {t0, "changed", "right"}, {t0.Add(verifiedLifetime), "hash", "right"}} {
		if p.recall(c.at, c.hash, c.password) {
			t.Errorf("%+v was taken", c)
		}
	}
	for i := range 2 * maxVerified {
		p.remember(t0, "hash", fmt.Sprint(i))
	}
	if len(p.verified) > maxVerified {
		t.Errorf("%d remembered", len(p.verified))
	}
	p.remember(t0.Add(verifiedLifetime), "hash", "new")
	if len(p.verified) > maxVerified || !p.recall(t0.Add(verifiedLifetime), "hash", "new") {
		t.Errorf("%d remembered", len(p.verified))
	}
}

func BenchmarkPassword(b *testing.B) {
	p := newPasswords(argonMemory)
	for b.Loop() {
		if _, err := p.verify(b.Context(), p.unknown, password); err != nil {
			b.Fatal(err)
		}
	}
}
