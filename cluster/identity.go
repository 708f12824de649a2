package cluster

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/talkd/talkd/cluster/rpc"
	"github.com/talkd/talkd/store"
)

// Files of an identity. The certificate is written last: where it is, the rest
// is too. A node that joins writes its key before it asks.
const (
	fileNodeKey    = "node.key"
	fileNodeCert   = "node.crt"
	fileCACert     = "ca.crt"
	fileClusterKey = "cluster.key"
	fileGossipKeys = "gossip.keys" // the one to encrypt with first
	fileBootstrap  = "bootstrap.json"
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

func (id *identity) save() error {
	if err := saveKey(id.dir, id.key); err != nil {
		return err
	}
	if id.clusterKey != nil {
		if err := writeFile(filepath.Join(id.dir, fileClusterKey), id.clusterKey); err != nil {
			return err
		}
	}
	if err := id.saveTrust(id.trust.Load()); err != nil {
		return err
	}
	return id.saveCertificate()
}

func (id *identity) saveTrust(t *trust) error {
	var cas, gossip []byte
	for _, ca := range t.cas {
		cas = append(cas, pemBlock("CERTIFICATE", ca.Raw)...)
	}
	for _, k := range t.gossip {
		gossip = append(base64.StdEncoding.AppendEncode(gossip, k), '\n')
	}
	if err := writeFile(filepath.Join(id.dir, fileCACert), cas); err != nil {
		return err
	}
	return writeFile(filepath.Join(id.dir, fileGossipKeys), gossip)
}

func (id *identity) saveCertificate() error {
	var chain []byte
	for _, der := range id.cert.Load().Certificate {
		chain = append(chain, pemBlock("CERTIFICATE", der)...)
	}
	return writeFile(filepath.Join(id.dir, fileNodeCert), chain)
}

// loadIdentity reads what save wrote; nil when the node has none yet.
func loadIdentity(dir string, node store.NodeID, server bool) (*identity, error) {
	chain, err := readPEMs(dir, fileNodeCert, "CERTIFICATE")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	ders, err := readPEMs(dir, fileCACert, "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	cas, err := parseCAs(ders)
	if err != nil {
		return nil, err
	}
	id := &identity{dir: dir, node: node}
	if id.key, err = loadKey(dir); err != nil {
		return nil, err
	}
	id.clusterKey, err = os.ReadFile(filepath.Join(dir, fileClusterKey))
	missing := errors.Is(err, fs.ErrNotExist)
	switch {
	case err != nil && !missing:
		return nil, err
	case server && missing:
		return nil, fmt.Errorf("%w: %w: a node that joined without the role %s cannot take it on: join under another node.id", ErrIdentity, err, store.RoleServer)
	case !server && !missing:
		return nil, fmt.Errorf("%w: this node joined with the role %s and cannot lay it down: remove it from the cluster, and join under another node.id", ErrIdentity, store.RoleServer)
	case server && len(id.clusterKey) != clusterKeySize:
		return nil, fmt.Errorf("%w: %s has %d bytes", ErrIdentity, fileClusterKey, len(id.clusterKey))
	}
	text, err := os.ReadFile(filepath.Join(dir, fileGossipKeys))
	if err != nil {
		return nil, err
	}
	var gossip [][]byte
	for line := range bytes.Lines(text) {
		k, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(line)))
		if err != nil || len(k) != gossipKeySize {
			return nil, fmt.Errorf("%w: %s is no list of keys", ErrIdentity, fileGossipKeys)
		}
		gossip = append(gossip, k)
	}
	if len(gossip) == 0 {
		return nil, fmt.Errorf("%w: %s is empty", ErrIdentity, fileGossipKeys)
	}
	var cross []byte
	if len(chain) > 2 {
		cross = chain[2]
	}
	if err := id.adopt(newTrust(cas, gossip), chain[0], cross); err != nil {
		return nil, err
	}
	return id, nil
}

// joinKey is the key that this node joins with: the one of an earlier attempt,
// whose answer may have been lost, else a new one.
func joinKey(dir string) (*ecdsa.PrivateKey, error) {
	key, err := loadKey(dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	return key, saveKey(dir, key)
}

func loadKey(dir string) (*ecdsa.PrivateKey, error) {
	der, err := readPEM(dir, fileNodeKey, "PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", fileNodeKey, err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%w: %s of type %T", ErrIdentity, fileNodeKey, parsed)
	}
	return key, nil
}

func saveKey(dir string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, fileNodeKey), pemBlock("PRIVATE KEY", der))
}

// loadBootstrap reads what the first node has not committed yet, nil if
// nothing.
func loadBootstrap(dir string) (*bootstrap, error) {
	data, err := os.ReadFile(filepath.Join(dir, fileBootstrap))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	b := new(bootstrap)
	if err := json.Unmarshal(data, b); err != nil {
		return nil, fmt.Errorf("%s: %w", fileBootstrap, err)
	}
	return b, nil
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

func pemBlock(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
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

func readPEM(dir, name, kind string) ([]byte, error) {
	blocks, err := readPEMs(dir, name, kind)
	if err != nil {
		return nil, err
	}
	return blocks[0], nil
}

// readPEMs reads all blocks of a file, one at least.
func readPEMs(dir, name, kind string) ([][]byte, error) {
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	var blocks [][]byte
	for {
		block, rest := pem.Decode(text)
		if block == nil && len(blocks) > 0 {
			return blocks, nil
		}
		if block == nil || block.Type != kind {
			return nil, fmt.Errorf("%w: %s holds no %s", ErrIdentity, name, kind)
		}
		blocks, text = append(blocks, block.Bytes), rest
	}
}

// writeFile replaces a file as a whole or not at all, also when the machine
// dies in between.
func writeFile(path string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name()) // the first error says why
		}
	}()
	if _, err = f.Write(data); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
