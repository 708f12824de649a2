package cluster

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"testing"
	"time"

	"github.com/talkd/talkd/cluster/rpc"
	"github.com/talkd/talkd/store"
)

func TestIssue(t *testing.T) {
	now := time.Now()
	ca, other := leafAuthority(t), leafAuthority(t)
	key := leafKey(t)
	der, err := ca.issue("n1", key.Public(), now)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := rpc.CertificateNode(cert); err != nil || id != "n1" {
		t.Errorf("it names %q, %v", id, err)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		t.Error("it holds another key")
	}
	if cert.IsCA || len(cert.DNSNames)+len(cert.IPAddresses)+len(cert.EmailAddresses) > 0 {
		t.Error("it allows more than a node needs")
	}
	if cert.SerialNumber.Sign() <= 0 || cert.SerialNumber.BitLen() > 127 {
		t.Errorf("serial of %d bits", cert.SerialNumber.BitLen())
	}
	verify := func(ca *authority, at time.Time) error {
		roots := x509.NewCertPool()
		roots.AddCert(ca.cert)
		_, err := cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
		return err
	}
	for name, tt := range map[string]struct {
		ca *authority
		at time.Time
		ok bool
	}{
		"now":                         {ca, now, true},
		"a clock half an hour behind": {ca, now.Add(-30 * time.Minute), true},
		"shortly before its end":      {ca, now.Add(certificateTTL - time.Minute), true},
		"after its end":               {ca, now.Add(certificateTTL + time.Minute), false},
		"long before":                 {ca, now.Add(-2 * certificateLeeway), false},
		"another cluster":             {other, now, false},
	} {
		if err := verify(tt.ca, tt.at); (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A node's certificate signs nothing that is accepted.
func TestNodeIsNoAuthority(t *testing.T) {
	ca, key := leafAuthority(t), leafKey(t)
	der, err := ca.issue("n1", key.Public(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	node, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	forged, err := (&authority{cert: node, key: key}).issue("n2", leafKey(t).Public(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(forged)
	if err != nil {
		t.Fatal(err)
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(ca.cert)
	between.AddCert(node)
	if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err == nil {
		t.Error("a certificate signed by a node is valid")
	}
}

// The sealed CA opens with the cluster key, for its cluster and certificate.
func TestSealedAuthority(t *testing.T) {
	ca, clusterKey := leafAuthority(t), randomBytes(clusterKeySize)
	bytesSealed, err := ca.seal(clusterKey, "c-1")
	if err != nil {
		t.Fatal(err)
	}
	sealed := store.Key{ID: 1, Cert: ca.cert.Raw, Sealed: bytesSealed}
	opened, err := openAuthority(sealed, "c-1", clusterKey)
	if err != nil {
		t.Fatal(err)
	}
	if !opened.cert.Equal(ca.cert) || !opened.key.(*ecdsa.PrivateKey).Equal(ca.key) {
		t.Error("another CA comes out")
	}
	plain, err := x509.MarshalPKCS8PrivateKey(ca.key)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed.Sealed, plain[len(plain)-32:]) {
		t.Error("the key is not sealed")
	}
	for name, spoil := range map[string]func(k *store.Key, cluster *string, key *[]byte){
		"another cluster key":   func(_ *store.Key, _ *string, key *[]byte) { *key = randomBytes(clusterKeySize) },
		"a short cluster key":   func(_ *store.Key, _ *string, key *[]byte) { *key = (*key)[:16] },
		"no cluster key":        func(_ *store.Key, _ *string, key *[]byte) { *key = nil },
		"another cluster":       func(_ *store.Key, cluster *string, _ *[]byte) { *cluster = "c-2" },
		"another certificate":   func(k *store.Key, _ *string, _ *[]byte) { k.Cert = leafAuthority(t).cert.Raw },
		"no certificate":        func(k *store.Key, _ *string, _ *[]byte) { k.Cert = nil },
		"a sealed key cut":      func(k *store.Key, _ *string, _ *[]byte) { k.Sealed = k.Sealed[:10] },
		"no sealed key":         func(k *store.Key, _ *string, _ *[]byte) { k.Sealed = nil },
		"a sealed key spoiled":  func(k *store.Key, _ *string, _ *[]byte) { k.Sealed[20] ^= 1 },
		"a sealed key extended": func(k *store.Key, _ *string, _ *[]byte) { k.Sealed = append(k.Sealed, 0) },
	} {
		k, cluster, key := sealed, "c-1", bytes.Clone(clusterKey)
		k.Sealed = bytes.Clone(sealed.Sealed)
		spoil(&k, &cluster, &key)
		if _, err := openAuthority(k, cluster, key); !errors.Is(err, ErrIdentity) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A gossip key opens with the cluster key, under its own id.
func TestSealedGossipKey(t *testing.T) {
	clusterKey, plain := randomBytes(clusterKeySize), randomBytes(gossipKeySize)
	sealed, err := sealGossipKey(clusterKey, 3, plain)
	if err != nil || bytes.Contains(sealed, plain) {
		t.Fatalf("%v, or it is not sealed", err)
	}
	if got, err := openGossipKey(store.Key{ID: 3, Sealed: sealed}, clusterKey); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("opened %x: %v", got, err)
	}
	ca := leafAuthority(t)
	other, err := ca.seal(clusterKey, "c-1")
	if err != nil {
		t.Fatal(err)
	}
	for name, k := range map[string]store.Key{
		"another id": {ID: 4, Sealed: sealed}, "cut": {ID: 3, Sealed: sealed[:40]}, "nothing": {ID: 3}, "the key of a CA": {ID: 3, Sealed: other},
	} {
		if _, err := openGossipKey(k, clusterKey); !errors.Is(err, ErrIdentity) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := openGossipKey(store.Key{ID: 3, Sealed: sealed}, randomBytes(clusterKeySize)); !errors.Is(err, ErrIdentity) {
		t.Errorf("another cluster key: %v", err)
	}
}

// Who trusts a CA trusts the one that it vouches for, and none that others do.
func TestVouching(t *testing.T) {
	old, next, stranger := leafAuthority(t), leafAuthority(t), leafAuthority(t)
	leaf, err := next.issue("n1", leafKey(t).Public(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	chain := func(cross []byte) (certs []*x509.Certificate) {
		for _, der := range [][]byte{leaf, next.cert.Raw, cross} {
			cert, err := x509.ParseCertificate(der)
			if err != nil {
				t.Fatal(err)
			}
			certs = append(certs, cert)
		}
		return certs
	}
	trusts := func(ca *authority, certs []*x509.Certificate) error {
		_, err := rpc.VerifyChain(newTrust([]*x509.Certificate{ca.cert}, nil).roots, certs, x509.ExtKeyUsageServerAuth)
		return err
	}
	cross, err := old.vouch(next, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for name, ca := range map[string]*authority{"the old one": old, "the new one": next} {
		if err := trusts(ca, chain(cross)); err != nil {
			t.Errorf("who knows %s: %v", name, err)
		}
	}
	if trusts(stranger, chain(cross)) == nil {
		t.Error("a stranger trusts it")
	}
	forged, err := stranger.vouch(next, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if trusts(old, chain(forged)) == nil {
		t.Error("a stranger vouched for it")
	}
	if _, err := checkPinned(chain(cross), pinOf(next.cert)); err != nil {
		t.Errorf("a joining node: %v", err)
	}
	if _, err := checkPinned(chain(cross), pinOf(old.cert)); !errors.Is(err, ErrPinMismatch) {
		t.Errorf("a joining node with an old token: %v", err)
	}
}

func TestPin(t *testing.T) {
	ca, other := leafAuthority(t), leafAuthority(t)
	pin := pinOf(ca.cert)
	if pinOf(other.cert) == pin {
		t.Fatal("two CAs of one pin")
	}
	leaf := func(a *authority) *x509.Certificate {
		t.Helper()
		der, err := a.issue("n1", leafKey(t).Public(), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	signed := func(template x509.Certificate) *x509.Certificate {
		t.Helper()
		template.SerialNumber = big.NewInt(1)
		der, err := x509.CreateCertificate(rand.Reader, &template, ca.cert, leafKey(t).Public(), ca.key)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	hour := time.Now().Add(time.Hour)
	nameless := signed(x509.Certificate{NotBefore: time.Now().Add(-time.Hour), NotAfter: hour})
	stale, err := ca.issue("n1", leafKey(t).Public(), time.Now().Add(-2*certificateTTL))
	if err != nil {
		t.Fatal(err)
	}
	expired, err := x509.ParseCertificate(stale)
	if err != nil {
		t.Fatal(err)
	}
	type chain = []*x509.Certificate
	for name, tt := range map[string]struct {
		chain chain
		ok    bool
	}{
		"a node and its CA":           {chain{leaf(ca), ca.cert}, true},
		"with another CA between":     {chain{leaf(ca), other.cert, ca.cert}, true},
		"nothing":                     {nil, false},
		"no CA":                       {chain{leaf(ca)}, false},
		"another CA":                  {chain{leaf(other), other.cert}, false},
		"another CA's node, this CA":  {chain{leaf(other), ca.cert}, false},
		"the CA alone":                {chain{ca.cert}, false},
		"no node":                     {chain{nameless, ca.cert}, false},
		"an expired certificate":      {chain{expired, ca.cert}, false},
		"the node in the wrong place": {chain{ca.cert, leaf(ca)}, false},
	} {
		got, err := checkPinned(tt.chain, pin)
		if tt.ok && (err != nil || !got.Equal(ca.cert)) || !tt.ok && (!errors.Is(err, ErrPinMismatch) || got != nil) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRequest(t *testing.T) {
	key := leafKey(t)
	der, err := newRequest(key)
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseRequest(der)
	if err != nil || !got.Equal(key.Public()) {
		t.Fatalf("%v, or another key", err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]any{"P-384": p384, "Ed25519": edwards} {
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseRequest(der); err == nil {
			t.Errorf("a key of %s is accepted", name)
		}
	}
	// Without the proof that the node has the key it gets no certificate.
	for i := range der {
		b := bytes.Clone(der)
		b[i] ^= 0x01
		if got, err := parseRequest(b); err == nil {
			t.Errorf("byte %d changed: %v", i, got)
		}
	}
	for n := range der {
		if _, err := parseRequest(der[:n]); err == nil {
			t.Errorf("cut to %d bytes", n)
		}
	}
}

// What issue makes is what the port accepts, see the tests of rpc.
func TestIssuedPair(t *testing.T) {
	id, _, err := newIdentity(t.TempDir(), "n1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ref := new(identityRef)
	if _, err := ref.Certificate(); !errors.Is(err, rpc.ErrNoIdentity) {
		t.Errorf("before joining: %v", err)
	}
	if _, err := ref.Roots(); !errors.Is(err, rpc.ErrNoIdentity) {
		t.Errorf("before joining: %v", err)
	}
	ref.p.Store(id)
	cert, err := ref.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	roots, err := ref.Roots()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: roots}); err != nil {
		t.Error(err)
	}
	chain := make([]*x509.Certificate, 0, 2)
	for _, der := range cert.Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, c)
	}
	if _, err := checkPinned(chain, pinOf(id.trust.Load().ca())); err != nil {
		t.Errorf("a joining node does not accept it: %v", err)
	}
	if _, err := tls.X509KeyPair(pemBlock("CERTIFICATE", cert.Certificate[0]), leafPEM(t, id.key)); err != nil {
		t.Error(err)
	}
}

func leafPEM(t testing.TB, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pemBlock("PRIVATE KEY", der)
}
