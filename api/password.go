package api

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/argon2"
)

// Cost of a password check: argon2id with 19 MiB, two passes, one lane, the
// least that OWASP's password storage cheat sheet advises. A stored hash
// brings its own cost, within these limits.
const (
	argonMemory  = 19 << 10 // KiB
	argonTime    = 2
	argonSalt    = 16
	argonKey     = 32
	maxArgonMem  = 256 << 10
	maxArgonTime = 16
	maxArgonLane = 16
)

// Limits of passwords.
const (
	minPassword = 10 // characters; less only on development nodes
	maxPassword = 1024
)

// What waits to be checked is bounded, so that many logins at the same time
// cost neither memory nor the media their processors.
const (
	maxWaiting  = 64
	waitTimeout = 5 * time.Second
)

// Talk clients of the Basic kind send the password with every request: one
// that was right is not hashed again for a while.
const (
	verifiedLifetime = 10 * time.Minute
	maxVerified      = 1024
)

var errBadHash = errors.New("not an argon2id hash this binary can check")

// passwords hashes and checks, a bounded number at the same time.
type passwords struct {
	places  chan struct{} // everybody who hashes or waits to
	running chan struct{} // who hashes
	memory  uint32        // of new hashes, in KiB
	unknown string        // the hash of nobody's password, to take as long for unknown users
	key     []byte        // keeps passwords from being guessed from memory

	mu       sync.Mutex // guards verified
	verified map[[sha256.Size]byte]time.Time
}

func newPasswords(memory uint32) *passwords {
	p := &passwords{
		memory:   memory,
		places:   make(chan struct{}, maxWaiting),
		running:  make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		key:      random(32),
		verified: make(map[[sha256.Size]byte]time.Time),
	}
	p.unknown = phc(memory, random(argonSalt), random(argonKey))
	return p
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

// hash makes a hash in the PHC string format.
func (p *passwords) hash(ctx context.Context, password string) (string, error) {
	release, err := p.acquire(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	salt := random(argonSalt)
	key := argon2.IDKey([]byte(password), salt, argonTime, p.memory, 1, argonKey)
	return phc(p.memory, salt, key), nil
}

// verify checks a password against a hash.
func (p *passwords) verify(ctx context.Context, hash, password string) (bool, error) {
	memory, passes, lanes, salt, want, err := parsePHC(hash)
	if err != nil {
		return false, err
	}
	release, err := p.acquire(ctx)
	if err != nil {
		return false, err
	}
	defer release()
	key := argon2.IDKey([]byte(password), salt, passes, memory, lanes, uint32(len(want)))
	return subtle.ConstantTimeCompare(key, want) == 1, nil
}

func (p *passwords) acquire(ctx context.Context) (release func(), err error) {
	select {
	case p.places <- struct{}{}:
	default:
		return nil, ErrBusy
	}
	timeout := time.NewTimer(waitTimeout)
	defer timeout.Stop()
	select {
	case p.running <- struct{}{}:
		return func() { <-p.running; <-p.places }, nil
	case <-timeout.C:
		err = ErrBusy
	case <-ctx.Done():
		err = ctx.Err()
	}
	<-p.places
	return nil, err
}

// recall tells whether this password was right for this hash a while ago.
func (p *passwords) recall(now time.Time, hash, password string) bool {
	id := p.id(hash, password)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.verified[id].After(now)
}

func (p *passwords) remember(now time.Time, hash, password string) {
	id := p.id(hash, password)
	p.mu.Lock()
	defer p.mu.Unlock()
	for old, until := range p.verified {
		if len(p.verified) < maxVerified {
			break
		}
		if !until.After(now) {
			delete(p.verified, old)
		}
	}
	for old := range p.verified { // any: it is only hashed once more
		if len(p.verified) < maxVerified {
			break
		}
		delete(p.verified, old)
	}
	p.verified[id] = now.Add(verifiedLifetime)
}

// id stands for the pair of hash and password; the hash has the user's salt.
func (p *passwords) id(hash, password string) [sha256.Size]byte {
	m := hmac.New(sha256.New, p.key)
	m.Write([]byte(hash))
	m.Write([]byte{0})
	m.Write([]byte(password))
	return [sha256.Size]byte(m.Sum(nil))
}

func phc(memory uint32, salt, key []byte) string {
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=1$%s$%s", argon2.Version, memory, argonTime, b64(salt), b64(key))
}

func parsePHC(s string) (memory, passes uint32, lanes uint8, salt, key []byte, err error) {
	bad := func() (uint32, uint32, uint8, []byte, []byte, error) { return 0, 0, 0, nil, nil, errBadHash }
	fields := strings.Split(s, "$")
	if len(fields) != 6 || fields[0] != "" || fields[1] != "argon2id" || fields[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return bad()
	}
	if _, err := fmt.Sscanf(fields[3], "m=%d,t=%d,p=%d", &memory, &passes, &lanes); err != nil {
		return bad()
	}
	if fields[3] != fmt.Sprintf("m=%d,t=%d,p=%d", memory, passes, lanes) ||
		memory < 8 || memory > maxArgonMem || passes < 1 || passes > maxArgonTime || lanes < 1 || lanes > maxArgonLane {
		return bad()
	}
	if salt, err = base64.RawStdEncoding.Strict().DecodeString(fields[4]); err != nil || len(salt) < 8 || len(salt) > 64 {
		return bad()
	}
	if key, err = base64.RawStdEncoding.Strict().DecodeString(fields[5]); err != nil || len(key) < 16 || len(key) > 64 {
		return bad()
	}
	return memory, passes, lanes, salt, key, nil
}
