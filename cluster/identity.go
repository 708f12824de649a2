package cluster

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/talkd/talkd/cluster/rpc"
	"github.com/talkd/talkd/store"
)

// gossipKeySize makes it AES-256.
const gossipKeySize = 32

// identity is what makes this node a node of its cluster.
type identity struct {
	dir        string
	node       store.NodeID
	key        *ecdsa.PrivateKey
	clusterKey []byte // opens the CA; nil on nodes that are no servers

	trust atomic.Pointer[trust]           // replaced by rely
	cert  atomic.Pointer[tls.Certificate] // replaced by renew
}

// trust is what this node knows others by. While a key is being replaced there
// are two, of which the one that is used is the first.
type trust struct {
	cas    []*x509.Certificate
	roots  *x509.CertPool
	gossip [][]byte
}

func newTrust(cas []*x509.Certificate, gossip [][]byte) *trust {
	t := &trust{cas: cas, roots: x509.NewCertPool(), gossip: gossip}
	for _, ca := range cas {
		t.roots.AddCert(ca)
	}
	return t
}

func (t *trust) equal(o *trust) bool {
	return slices.EqualFunc(t.cas, o.cas, (*x509.Certificate).Equal) && slices.EqualFunc(t.gossip, o.gossip, bytes.Equal)
}

// ca is the one that is used.
func (t *trust) ca() *x509.Certificate { return t.cas[0] }

// bootstrap is what the first node proposes as soon as it leads. It is kept on
// disk until that is committed: the CA's key is nowhere else.
type bootstrap struct {
	Identity store.Identity `json:"identity"`
	Secrets  []store.Secret `json:"secrets"`
}

// newIdentity makes a cluster with this node in it.
func newIdentity(dir string, node store.NodeID, now time.Time) (*identity, *bootstrap, error) {
	clusterID := "c-" + rand.Text()[:16]
	ca, err := newAuthority(clusterID, now)
	if err != nil {
		return nil, nil, err
	}
	id, gossip := &identity{dir: dir, node: node, clusterKey: randomBytes(clusterKeySize)}, randomBytes(gossipKeySize)
	if id.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, nil, err
	}
	leaf, err := ca.issue(node, id.key.Public(), now)
	if err != nil {
		return nil, nil, err
	}
	sealed := store.Identity{ClusterID: clusterID, CACert: ca.cert.Raw}
	if sealed.SealedCAKey, err = ca.seal(id.clusterKey, clusterID); err != nil {
		return nil, nil, err
	}
	if sealed.SealedGossipKey, err = sealGossipKey(id.clusterKey, 1, gossip); err != nil {
		return nil, nil, err
	}
	b := &bootstrap{Identity: sealed, Secrets: []store.Secret{{Name: sealRing, ID: 1, Key: randomBytes(sealKeySize)}}}
	encoded, err := json.Marshal(b)
	if err != nil {
		return nil, nil, err
	}
	if err := writeFile(filepath.Join(dir, fileBootstrap), encoded); err != nil {
		return nil, nil, err
	}
	if err := id.adopt(newTrust([]*x509.Certificate{ca.cert}, [][]byte{gossip}), leaf, nil); err != nil {
		return nil, nil, err
	}
	return id, b, id.save()
}

// adopt takes what others are known by, and the node's certificate, which must
// fit.
func (id *identity) adopt(t *trust, leaf, cross []byte) error {
	id.trust.Store(t)
	return id.replace(leaf, cross)
}

// replace takes a new certificate for the node's key. cross is the certificate
// of its CA from the CA before, nil if there was none.
func (id *identity) replace(leaf, cross []byte) error {
	t := id.trust.Load()
	cert, err := x509.ParseCertificate(leaf)
	if err != nil {
		return fmt.Errorf("node certificate: %w", err)
	}
	if _, err := cert.Verify(x509.VerifyOptions{
		Roots: t.roots, CurrentTime: cert.NotBefore, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}); err != nil {
		return fmt.Errorf("%w: node certificate: %w", ErrIdentity, err)
	}
	if name, err := rpc.CertificateNode(cert); err != nil || name != id.node {
		return fmt.Errorf("%w: it belongs to node %s, this is %s", ErrIdentity, name, id.node)
	}
	if !id.key.PublicKey.Equal(cert.PublicKey) {
		return fmt.Errorf("%w: %s is not the key of %s", ErrIdentity, fileNodeKey, fileNodeCert)
	}
	i := slices.IndexFunc(t.cas, func(ca *x509.Certificate) bool { return cert.CheckSignatureFrom(ca) == nil })
	if i < 0 {
		return fmt.Errorf("%w: node certificate of an unknown CA", ErrIdentity)
	}
	// The CA goes along: a joining node has only the hash of its key. So does
	// what the CA before said of it, for nodes that were away meanwhile.
	chain := [][]byte{leaf, t.cas[i].Raw}
	if cross != nil {
		chain = append(chain, cross)
	}
	id.cert.Store(&tls.Certificate{Certificate: chain, PrivateKey: id.key, Leaf: cert})
	return nil
}

// signedBy tells whether the node's certificate is of this CA.
func (id *identity) signedBy(ca *x509.Certificate) bool {
	return id.cert.Load().Leaf.CheckSignatureFrom(ca) == nil
}

// rely replaces what others are known by, on disk first.
func (id *identity) rely(t *trust) error {
	if id.trust.Load().equal(t) {
		return nil
	}
	if err := id.saveTrust(t); err != nil {
		return err
	}
	id.trust.Store(t)
	return nil
}

// keyHash is the node's key as its record has it.
func (id *identity) keyHash() string { return rpc.CertificateKey(id.cert.Load().Leaf) }

// renewDue says whether the certificate should be replaced.
func (id *identity) renewDue(now time.Time) bool {
	return now.Add(certificateRenew).After(id.cert.Load().Leaf.NotAfter)
}

// renew replaces the certificate by one from the cluster's CA. Connections
// that are open keep the old one.
func (id *identity) renew(leaf, cross []byte) error {
	if err := id.replace(leaf, cross); err != nil {
		return err
	}
	return id.saveCertificate()
}

// identityRef is the identity as the mesh sees it: there is none until the
// node has joined.
type identityRef struct{ p atomic.Pointer[identity] }

func (r *identityRef) Certificate() (*tls.Certificate, error) {
	id := r.p.Load()
	if id == nil {
		return nil, rpc.ErrNoIdentity
	}
	return id.cert.Load(), nil
}

func (r *identityRef) Roots() (*x509.CertPool, error) {
	id := r.p.Load()
	if id == nil {
		return nil, rpc.ErrNoIdentity
	}
	return id.trust.Load().roots, nil
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails (Go 1.24)
	return b
}

// parseCAs reads the certificates of CAs, one at least.
func parseCAs(ders [][]byte) ([]*x509.Certificate, error) {
	if len(ders) == 0 {
		return nil, fmt.Errorf("%w: no CA certificate", ErrIdentity)
	}
	cas := make([]*x509.Certificate, len(ders))
	for i, der := range ders {
		var err error
		if cas[i], err = x509.ParseCertificate(der); err != nil {
			return nil, fmt.Errorf("CA certificate: %w", err)
		}
	}
	return cas, nil
}
