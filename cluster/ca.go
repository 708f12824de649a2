package cluster

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"time"

	"github.com/talkd/talkd/cluster/rpc"
	"github.com/talkd/talkd/store"
)

// authority is the cluster's CA. Its key is in the replicated state, sealed
// under the cluster key, which is in no state and no snapshot: who steals a
// backup cannot make nodes.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

const clusterKeySize = 32

// newAuthority makes a CA of a cluster.
func newAuthority(clusterID string, now time.Time) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "talkd cluster " + clusterID},
		NotBefore:             now.Add(-certificateLeeway),
		NotAfter:              now.Add(caTTL),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLen:            1, // the CA that follows it
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &authority{cert: cert, key: key}, nil
}

// vouch makes the certificate of the CA that follows: nodes that know only
// this one trust that one too.
func (a *authority) vouch(next *authority, now time.Time) ([]byte, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               next.cert.Subject,
		NotBefore:             now.Add(-certificateLeeway),
		NotAfter:              a.cert.NotAfter,
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	return x509.CreateCertificate(rand.Reader, template, a.cert, next.key.Public(), a.key)
}

// issue makes a node's certificate. Who may have it is decided before.
func (a *authority) issue(id store.NodeID, key crypto.PublicKey, now time.Time) ([]byte, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: string(id)},
		URIs:                  []*url.URL{rpc.NodeURI(id)},
		NotBefore:             now.Add(-certificateLeeway),
		NotAfter:              now.Add(certificateTTL),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	return x509.CreateCertificate(rand.Reader, template, a.cert, key, a.key)
}

// seal encrypts the CA's key for the replicated state.
func (a *authority) seal(clusterKey []byte, clusterID string) ([]byte, error) {
	plain, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		return nil, err
	}
	aead, err := clusterCipher(clusterKey, "talkd ca key v1")
	if err != nil {
		return nil, err
	}
	return aead.Seal(nil, nil, plain, caKeyBinding(clusterID, a.cert.Raw)), nil
}

// openAuthority decrypts a CA of the replicated state.
func openAuthority(k store.Key, clusterID string, clusterKey []byte) (*authority, error) {
	aead, err := clusterCipher(clusterKey, "talkd ca key v1")
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nil, k.Sealed, caKeyBinding(clusterID, k.Cert))
	if err != nil {
		return nil, fmt.Errorf("%w: %s does not open the cluster's CA", ErrIdentity, fileClusterKey)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(plain)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%w: CA key of type %T", ErrIdentity, parsed)
	}
	cert, err := x509.ParseCertificate(k.Cert)
	if err != nil {
		return nil, err
	}
	return &authority{cert: cert, key: key}, nil
}

// sealGossipKey encrypts a gossip key for the replicated state.
func sealGossipKey(clusterKey []byte, id uint32, plain []byte) ([]byte, error) {
	aead, err := clusterCipher(clusterKey, "talkd gossip key v1")
	if err != nil {
		return nil, err
	}
	return aead.Seal(nil, nil, plain, binary.BigEndian.AppendUint32(nil, id)), nil
}

// openGossipKey decrypts one of the replicated state.
func openGossipKey(k store.Key, clusterKey []byte) ([]byte, error) {
	aead, err := clusterCipher(clusterKey, "talkd gossip key v1")
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nil, k.Sealed, binary.BigEndian.AppendUint32(nil, k.ID))
	if err != nil || len(plain) != gossipKeySize {
		return nil, fmt.Errorf("%w: %s does not open the gossip keys", ErrIdentity, fileClusterKey)
	}
	return plain, nil
}

// clusterCipher is the cluster key for one purpose.
func clusterCipher(clusterKey []byte, purpose string) (cipher.AEAD, error) {
	if len(clusterKey) != clusterKeySize {
		return nil, fmt.Errorf("%w: cluster key of %d bytes", ErrIdentity, len(clusterKey))
	}
	key, err := hkdf.Key(sha256.New, clusterKey, nil, purpose, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// caKeyBinding ties the sealed key to its cluster and certificate.
func caKeyBinding(clusterID string, cert []byte) []byte {
	sum := sha256.Sum256(cert)
	return append([]byte(clusterID+"\x00"), sum[:]...)
}

// pinOf is what a join token says of the CA: the hash of its public key
// (RFC 7469 calls it a pin).
func pinOf(cert *x509.Certificate) [sha256.Size]byte {
	return sha256.Sum256(cert.RawSubjectPublicKeyInfo)
}

// checkPinned accepts the chain of a server node of the pinned CA.
func checkPinned(chain []*x509.Certificate, pin [sha256.Size]byte) (*x509.Certificate, error) {
	for _, ca := range chain {
		if p := pinOf(ca); !ca.IsCA || !bytes.Equal(p[:], pin[:]) {
			continue
		}
		roots := x509.NewCertPool()
		roots.AddCert(ca)
		options := x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
		if _, err := chain[0].Verify(options); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrPinMismatch, err)
		}
		if _, err := rpc.CertificateNode(chain[0]); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrPinMismatch, err)
		}
		return ca, nil
	}
	return nil, ErrPinMismatch
}

// newRequest is the certificate request of a joining node (RFC 2986): it
// proves that the node has the key, and asks for no name.
func newRequest(key crypto.Signer) ([]byte, error) {
	return x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
}

func parseRequest(der []byte) (*ecdsa.PublicKey, error) {
	req, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, err
	}
	if err := req.CheckSignature(); err != nil {
		return nil, err
	}
	key, ok := req.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("key is not ECDSA P-256")
	}
	return key, nil
}

func newSerial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
}
