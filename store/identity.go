package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"time"
)

// Limits of the cluster's identity, secrets and join tokens.
const (
	MaxClusterID   = 64
	MaxCertificate = 16 << 10
	MaxSecretName  = 32
	MaxSecretKey   = 64
	MaxSecrets     = 64
	MaxJoinTokens  = 1000
)

// Identity is what a cluster begins with. The keys may be replaced later.
type Identity struct {
	ClusterID       string `json:"cluster_id"`
	CACert          []byte `json:"ca_cert"`
	SealedCAKey     []byte `json:"sealed_ca_key"`
	SealedGossipKey []byte `json:"sealed_gossip_key"`
}

// Cluster is what makes the cluster this cluster.
type Cluster struct {
	ID      string    `json:"id"`
	Created time.Time `json:"created"` // set by cluster_init
}

// Validate checks the identity against the limits.
func (i Identity) Validate() error {
	if err := checkText("cluster id", i.ClusterID, 1, MaxClusterID); err != nil {
		return err
	}
	if err := checkBytes("CA certificate", i.CACert, 1, MaxCertificate); err != nil {
		return err
	}
	if err := checkBytes("sealed gossip key", i.SealedGossipKey, 1, MaxCertificate); err != nil {
		return err
	}
	return checkBytes("sealed CA key", i.SealedCAKey, 1, MaxCertificate)
}

// Secret is a key that all nodes share. Secrets of one name are a ring: the
// highest id seals, all of them open.
type Secret struct {
	Name    string    `json:"name"`
	ID      uint32    `json:"id"`
	Key     []byte    `json:"key"`
	Created time.Time `json:"created"` // set by the command
}

// Validate checks the secret against the limits.
func (s Secret) Validate() error {
	if err := checkText("secret name", s.Name, 1, MaxSecretName); err != nil {
		return err
	}
	return checkBytes("secret key", s.Key, 16, MaxSecretKey)
}

// String keeps the key out of logs.
func (s Secret) String() string { return fmt.Sprintf("%s/%d", s.Name, s.ID) }

// GoString keeps the key out of logs.
func (s Secret) GoString() string { return s.String() }

// LogValue keeps the key out of logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

func (s Secret) clone() Secret {
	s.Key = bytes.Clone(s.Key)
	return s
}

// TokenHash is the SHA-256 of a login or join token. The tokens themselves
// carry enough random bits to need no salt, and are never stored.
type TokenHash [sha256.Size]byte

// HashToken hashes a token as it came from its bearer.
func HashToken(token string) TokenHash { return sha256.Sum256([]byte(token)) }

// String writes the hash in hexadecimal.
func (h TokenHash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText writes the hash in hexadecimal.
func (h TokenHash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (h *TokenHash) UnmarshalText(b []byte) error {
	if hex.DecodedLen(len(b)) != len(h) {
		return fmt.Errorf("%w: token hash of %d characters", ErrMalformed, len(b))
	}
	if _, err := hex.Decode(h[:], b); err != nil {
		return fmt.Errorf("%w: token hash", ErrMalformed)
	}
	return nil
}

// JoinToken lets one node into the cluster. That node may use it again, as the
// answer may be lost on its way; nobody else may.
type JoinToken struct {
	Hash    TokenHash `json:"hash"`
	Expires time.Time `json:"expires"`
	UsedBy  Joiner    `json:"used_by,omitzero"`
}

// Joiner is a node that joins: its name and its key.
type Joiner struct {
	Node NodeID `json:"node"`
	Key  string `json:"key"` // SHA-256 of its public key, in hexadecimal; empty when the node was removed since
}

// NewJoiner names the node that has this public key.
func NewJoiner(node NodeID, publicKey []byte) Joiner {
	return Joiner{Node: node, Key: HashKey(publicKey)}
}

// HashKey is how the public key of a node is written, see Node.Key.
func HashKey(publicKey []byte) string {
	sum := sha256.Sum256(publicKey)
	return hex.EncodeToString(sum[:])
}

func (j Joiner) validate() error {
	if err := checkNodeID(j.Node); err != nil {
		return err
	}
	return checkText("hash of the key", j.Key, hex.EncodedLen(sha256.Size), hex.EncodedLen(sha256.Size))
}
