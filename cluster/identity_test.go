package cluster

import (
	"bytes"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/talkd/talkd/store"
)

func leafIdentity(t testing.TB, node store.NodeID) (*identity, *bootstrap) {
	t.Helper()
	id, b, err := newIdentity(t.TempDir(), node, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return id, b
}

func TestIdentitySurvivesRestart(t *testing.T) {
	id, b := leafIdentity(t, "n1")
	again, err := loadIdentity(id.dir, "n1", true)
	if err != nil || again == nil {
		t.Fatalf("%v, %v", again, err)
	}
	if !again.key.Equal(id.key) || !again.trust.Load().equal(id.trust.Load()) || !bytes.Equal(again.clusterKey, id.clusterKey) ||
		!reflect.DeepEqual(again.cert.Load().Certificate, id.cert.Load().Certificate) {
		t.Error("another identity comes back")
	}
	kept, err := loadBootstrap(id.dir)
	if err != nil || !reflect.DeepEqual(kept, b) {
		t.Errorf("another bootstrap comes back: %v", err)
	}
	// What the first node proposes is a valid command, and opens with its key.
	leafOpened(t, id, b)
	if plain, err := openGossipKey(store.Key{ID: 1, Sealed: b.Identity.SealedGossipKey}, id.clusterKey); err != nil || !bytes.Equal(plain, id.trust.Load().gossip[0]) {
		t.Errorf("gossip key: %v", err)
	}
	state := leafState(t)
	if r, _, err := state.Apply(1, store.NewClusterInit(leafNow, b.Identity, b.Secrets...)); err != nil || r.Err != nil {
		t.Errorf("%v, %v", r.Err, err)
	}
	if newSealer("x", state).Seal(nil) == "" {
		t.Error("the new cluster has no key to seal with")
	}
}

// Secrets are for nobody else on the machine, and no file is left half.
func TestIdentityFiles(t *testing.T) {
	id, _ := leafIdentity(t, "n1")
	entries, err := os.ReadDir(id.dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", e.Name(), info.Mode())
		}
	}
	want := []string{fileBootstrap, fileCACert, fileClusterKey, fileGossipKeys, fileNodeCert, fileNodeKey}
	if !reflect.DeepEqual(names, want) {
		t.Errorf("files %v, want %v", names, want)
	}
	// Neither the CA's key nor the cluster key is where the other is.
	ca, err := os.ReadFile(filepath.Join(id.dir, fileBootstrap))
	if err != nil || bytes.Contains(ca, id.clusterKey) {
		t.Errorf("%v, or the bootstrap holds the cluster key", err)
	}
}

func TestNoIdentityYet(t *testing.T) {
	dir := t.TempDir()
	if id, err := loadIdentity(dir, "n1", true); id != nil || err != nil {
		t.Errorf("of an empty directory: %v, %v", id, err)
	}
	if b, err := loadBootstrap(dir); b != nil || err != nil {
		t.Errorf("of an empty directory: %v, %v", b, err)
	}
	// A start that died before the certificate was written begins anew.
	id, _ := leafIdentity(t, "n1")
	if err := os.Remove(filepath.Join(id.dir, fileNodeCert)); err != nil {
		t.Fatal(err)
	}
	if got, err := loadIdentity(id.dir, "n1", true); got != nil || err != nil {
		t.Errorf("without certificate: %v, %v", got, err)
	}
	// Elsewhere there is no directory at all.
	if _, _, err := newIdentity(filepath.Join(dir, "missing"), "n1", time.Now()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without directory: %v", err)
	}
}

// A directory that does not fit is refused, and the message says what is wrong.
func TestIdentityThatDoesNotFit(t *testing.T) {
	put := func(name, text string) func(testing.TB, string) {
		return func(t testing.TB, dir string) {
			t.Helper()
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	from := func(name string, node store.NodeID) func(testing.TB, string) {
		return func(t testing.TB, dir string) {
			t.Helper()
			other, _ := leafIdentity(t, node)
			b, err := os.ReadFile(filepath.Join(other.dir, name))
			if err != nil {
				t.Fatal(err)
			}
			put(name, string(b))(t, dir)
		}
	}
	remove := func(name string) func(testing.TB, string) {
		return func(t testing.TB, dir string) {
			t.Helper()
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	rsaKey := func(t testing.TB, dir string) {
		t.Helper()
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		put(fileNodeKey, string(pemBlock("PRIVATE KEY", der)))(t, dir)
	}
	tests := []struct {
		name  string
		spoil func(testing.TB, string)
		node  store.NodeID
		want  error  // nil: any
		says  string // part of the message
	}{
		{name: "another node's directory", node: "n2", want: ErrIdentity, says: "n1"},
		{name: "another cluster's certificate", spoil: from(fileNodeCert, "n1"), want: ErrIdentity},
		{name: "another cluster's CA", spoil: from(fileCACert, "n1"), want: ErrIdentity},
		{name: "another key", spoil: from(fileNodeKey, "n1"), want: ErrIdentity, says: fileNodeKey},
		{name: "a key of RSA", spoil: rsaKey, want: ErrIdentity, says: fileNodeKey},
		{name: "no key", spoil: remove(fileNodeKey), want: fs.ErrNotExist},
		{name: "no CA", spoil: remove(fileCACert), want: fs.ErrNotExist},
		{name: "no cluster key", spoil: remove(fileClusterKey), want: fs.ErrNotExist},
		{name: "no gossip keys", spoil: remove(fileGossipKeys), want: fs.ErrNotExist},
		{name: "empty certificate", spoil: put(fileNodeCert, ""), want: ErrIdentity, says: fileNodeCert},
		{name: "key for a certificate", spoil: put(fileNodeCert, string(pemBlock("PRIVATE KEY", nil))), want: ErrIdentity, says: fileNodeCert},
		{name: "certificate of nothing", spoil: put(fileNodeCert, string(pemBlock("CERTIFICATE", nil)))},
		{name: "key of nothing", spoil: put(fileNodeKey, string(pemBlock("PRIVATE KEY", []byte{1})))},
		{name: "CA of nothing", spoil: put(fileCACert, string(pemBlock("CERTIFICATE", []byte{1})))},
		{name: "short cluster key", spoil: put(fileClusterKey, "short"), want: ErrIdentity, says: fileClusterKey},
		{name: "empty gossip keys", spoil: put(fileGossipKeys, ""), want: ErrIdentity, says: fileGossipKeys},
		{name: "gossip keys that are none", spoil: put(fileGossipKeys, "AAAA\n"), want: ErrIdentity, says: fileGossipKeys},
		{name: "gossip keys with a line too many", spoil: put(fileGossipKeys, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n"), want: ErrIdentity, says: fileGossipKeys},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			id, _ := leafIdentity(t, "n1")
			if tt.spoil != nil {
				tt.spoil(t, id.dir)
			}
			node := tt.node
			if node == "" {
				node = "n1"
			}
			got, err := loadIdentity(id.dir, node, true)
			if got != nil || err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Fatalf("%v, %v, want %v", got, err, tt.want)
			}
			if !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%q says nothing of %q", err, tt.says)
			}
		})
	}
	dir := t.TempDir()
	put(fileBootstrap, "{")(t, dir)
	if b, err := loadBootstrap(dir); err == nil || b != nil {
		t.Errorf("half a bootstrap: %v", err)
	}
}

func TestRenew(t *testing.T) {
	start := time.Now()
	id, b := leafIdentity(t, "n1")
	ca := leafOpened(t, id, b)
	if id.renewDue(start) || id.renewDue(start.Add(certificateTTL-certificateRenew-time.Hour)) {
		t.Error("due too early")
	}
	late := start.Add(certificateTTL - certificateRenew + time.Hour)
	if !id.renewDue(late) {
		t.Error("not due in time")
	}
	old := id.cert.Load()
	signed := func(ca *authority) []byte {
		leaf, err := ca.issue("n1", id.key.Public(), late)
		if err != nil {
			t.Fatal(err)
		}
		return leaf
	}
	if err := id.renew(signed(ca), nil); err != nil {
		t.Fatal(err)
	}
	if id.cert.Load() == old || id.renewDue(late) || !id.key.PublicKey.Equal(id.cert.Load().Leaf.PublicKey) {
		t.Error("it was not renewed for the same key")
	}
	again, err := loadIdentity(id.dir, "n1", true)
	if err != nil || !again.cert.Load().Leaf.Equal(id.cert.Load().Leaf) {
		t.Errorf("after a restart: %v", err)
	}
	// Another cluster's CA cannot slip in, nor a certificate of another node
	// or key.
	if err := id.renew(signed(leafAuthority(t)), nil); !errors.Is(err, ErrIdentity) {
		t.Errorf("by another CA: %v", err)
	}
	for name, issue := range map[string]func() ([]byte, error){
		"another node": func() ([]byte, error) { return ca.issue("n2", id.key.Public(), late) },
		"another key":  func() ([]byte, error) { return ca.issue("n1", leafKey(t).Public(), late) },
	} {
		der, err := issue()
		if err != nil {
			t.Fatal(err)
		}
		if err := id.replace(der, nil); !errors.Is(err, ErrIdentity) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := id.replace([]byte("x"), nil); err == nil {
		t.Error("no certificate at all is taken")
	}
	if got, err := loadIdentity(id.dir, "n1", true); err != nil || !got.cert.Load().Leaf.Equal(id.cert.Load().Leaf) {
		t.Errorf("what was refused is on disk: %v", err)
	}
}

// What is on disk fits together at each step of a change of the CA.
func TestIdentityChangesItsCA(t *testing.T) {
	id, b := leafIdentity(t, "n1")
	old, next := leafOpened(t, id, b), leafAuthority(t)
	cross, err := old.vouch(next, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := next.issue("n1", id.key.Public(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	gossip := id.trust.Load().gossip
	rely := func(gossip [][]byte, cas ...*authority) func() error {
		certs := make([]*x509.Certificate, len(cas))
		for i, ca := range cas {
			certs[i] = ca.cert
		}
		return func() error { return id.rely(newTrust(certs, gossip)) }
	}
	if err := id.replace(leaf, cross); !errors.Is(err, ErrIdentity) {
		t.Errorf("a certificate of a CA that is not trusted: %v", err)
	}
	for i, step := range []func() error{
		rely(append(gossip, randomBytes(gossipKeySize)), old, next),
		rely(gossip, next, old),
		func() error { return id.renew(leaf, cross) },
		rely(gossip, next),
	} {
		if err := step(); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		again, err := loadIdentity(id.dir, "n1", true)
		if err != nil || !again.trust.Load().equal(id.trust.Load()) || !reflect.DeepEqual(again.cert.Load().Certificate, id.cert.Load().Certificate) {
			t.Errorf("step %d: another identity comes back: %v", i, err)
		}
		if id.signedBy(next.cert) != (i >= 2) || id.signedBy(old.cert) != (i < 2) {
			t.Errorf("step %d: signed by the wrong one", i)
		}
	}
}

func leafOpened(t testing.TB, id *identity, b *bootstrap) *authority {
	t.Helper()
	ca, err := openAuthority(store.Key{ID: 1, Cert: b.Identity.CACert, Sealed: b.Identity.SealedCAKey}, b.Identity.ClusterID, id.clusterKey)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// writeFile leaves the old content or the new, and nothing beside it.
func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	for _, text := range []string{"one", "a longer second", ""} {
		if err := writeFile(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != text {
			t.Errorf("%q, %v", b, err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "taken"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(filepath.Join(dir, "taken"), []byte("x")); err == nil {
		t.Error("a directory was replaced")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("%d entries are left, %v", len(entries), err)
	}
}

// A new cluster shares nothing with another.
func TestIdentitiesDiffer(t *testing.T) {
	a, one := leafIdentity(t, "n1")
	b, two := leafIdentity(t, "n1")
	if one.Identity.ClusterID == two.Identity.ClusterID || bytes.Equal(a.clusterKey, b.clusterKey) ||
		bytes.Equal(a.trust.Load().gossip[0], b.trust.Load().gossip[0]) || bytes.Equal(one.Secrets[0].Key, two.Secrets[0].Key) || a.trust.Load().ca().Equal(b.trust.Load().ca()) {
		t.Error("two clusters share a secret")
	}
	if a.key.Curve != elliptic.P256() {
		t.Errorf("a key of %s", a.key.Params().Name)
	}
}
