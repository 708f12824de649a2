package cluster

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

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

func pemBlock(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
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
