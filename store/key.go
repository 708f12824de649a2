package store

import (
	"bytes"
	"fmt"
	"slices"
	"time"
)

// KeyKind names a key that all nodes of the cluster share to know each other.
type KeyKind string

// Kinds of keys.
const (
	KeyGossip KeyKind = "gossip" // encrypts gossip
	KeyCA     KeyKind = "ca"     // signs the certificates of the nodes
)

// KeyKinds are all of them.
func KeyKinds() []KeyKind { return []KeyKind{KeyCA, KeyGossip} }

func (k KeyKind) validate() error {
	if !slices.Contains(KeyKinds(), k) {
		return fmt.Errorf("%w: kind of key %.16q", ErrInvalid, string(k))
	}
	return nil
}

// Key is one of them, sealed under the cluster key, which is in no state.
type Key struct {
	ID     uint32 `json:"id"`
	Sealed []byte `json:"sealed"`
	// Cert is the certificate of a CA, and Cross the one that the CA before
	// gave it: who knows only that one trusts this one too.
	Cert    []byte    `json:"cert,omitempty"`
	Cross   []byte    `json:"cross,omitempty"`
	Created time.Time `json:"created"` // set by the command
}

func (k Key) validate(kind KeyKind) error {
	if err := checkBytes("sealed key", k.Sealed, 1, MaxCertificate); err != nil {
		return err
	}
	if kind != KeyCA {
		if len(k.Cert)+len(k.Cross) > 0 {
			return fmt.Errorf("%w: a certificate of a key that has none", ErrInvalid)
		}
		return nil
	}
	if err := checkBytes("certificate of the CA before", k.Cross, 0, MaxCertificate); err != nil {
		return err
	}
	return checkBytes("CA certificate", k.Cert, 1, MaxCertificate)
}

// KeyRing are the keys of one kind. There is one; while it is being replaced
// there are two, which are both good, and Primary says which of them is used.
type KeyRing struct {
	Primary uint32 `json:"primary"`
	Keys    []Key  `json:"keys"` // the newest last
}

// Key is a key of the ring.
func (r KeyRing) Key(id uint32) (Key, bool) {
	i := slices.IndexFunc(r.Keys, func(k Key) bool { return k.ID == id })
	if i < 0 {
		return Key{}, false
	}
	return r.Keys[i], true
}

// Newest is the id of the newest key, 0 of an empty ring.
func (r KeyRing) Newest() uint32 {
	if len(r.Keys) == 0 {
		return 0
	}
	return r.Keys[len(r.Keys)-1].ID
}

func (r KeyRing) clone() KeyRing {
	r.Keys = slices.Clone(r.Keys)
	for i, k := range r.Keys {
		r.Keys[i].Sealed, r.Keys[i].Cert, r.Keys[i].Cross = bytes.Clone(k.Sealed), bytes.Clone(k.Cert), bytes.Clone(k.Cross)
	}
	return r
}

// KeyStep says what happened to the keys of a kind.
type KeyStep string

// Steps of a rotation, in order.
const (
	KeyAdded   KeyStep = "added"   // all nodes take it
	KeyUsed    KeyStep = "used"    // all nodes use it
	KeyDropped KeyStep = "dropped" // the one before is gone
)

// Keys are the keys of one kind.
func (v *View) Keys(kind KeyKind) KeyRing {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.mem.keys[kind].clone()
}

type putKey struct {
	Kind KeyKind `json:"kind"`
	Key  Key     `json:"key"`
}

// NewPutKey adds a key to its ring, where there may be two. Its id is the next
// one: a key that somebody else has added meanwhile is not replaced, and refused
// with ErrExists.
func NewPutKey(at time.Time, kind KeyKind, k Key) Command {
	return newCommand(OpPutKey, at, &putKey{Kind: kind, Key: k})
}

func (o *putKey) validate() error {
	if err := o.Kind.validate(); err != nil {
		return err
	}
	return o.Key.validate(o.Kind)
}

func (o *putKey) applyMemory(m *memory, at time.Time) (Result, []Event, error) {
	ring := m.keys[o.Kind]
	switch {
	case len(ring.Keys) == 0:
		return Result{}, nil, fmt.Errorf("%w: keys", ErrNotFound)
	case len(ring.Keys) > 1 || o.Key.ID != ring.Newest()+1:
		return Result{}, nil, fmt.Errorf("%w: key %d", ErrExists, ring.Newest())
	}
	o.Key.Created = at
	ring.Keys = append(slices.Clip(ring.Keys), o.Key)
	return m.setKeys(o.Kind, ring, KeyAdded)
}

type useKey struct {
	Kind KeyKind `json:"kind"`
	ID   uint32  `json:"id"`
}

// NewUseKey has all nodes use a key of the ring.
func NewUseKey(at time.Time, kind KeyKind, id uint32) Command {
	return newCommand(OpUseKey, at, &useKey{Kind: kind, ID: id})
}

func (o *useKey) validate() error { return o.Kind.validate() }

func (o *useKey) applyMemory(m *memory, _ time.Time) (Result, []Event, error) {
	ring := m.keys[o.Kind]
	if _, ok := ring.Key(o.ID); !ok {
		return Result{}, nil, fmt.Errorf("%w: key", ErrNotFound)
	}
	ring.Primary = o.ID
	return m.setKeys(o.Kind, ring, KeyUsed)
}

type dropKey struct {
	Kind KeyKind `json:"kind"`
	ID   uint32  `json:"id"`
}

// NewDropKey takes a key that is not used out of its ring.
func NewDropKey(at time.Time, kind KeyKind, id uint32) Command {
	return newCommand(OpDropKey, at, &dropKey{Kind: kind, ID: id})
}

func (o *dropKey) validate() error { return o.Kind.validate() }

func (o *dropKey) applyMemory(m *memory, _ time.Time) (Result, []Event, error) {
	ring := m.keys[o.Kind]
	if _, ok := ring.Key(o.ID); !ok || ring.Primary == o.ID {
		return Result{}, nil, fmt.Errorf("%w: key that is not used", ErrNotFound)
	}
	ring.Keys = slices.DeleteFunc(slices.Clone(ring.Keys), func(k Key) bool { return k.ID == o.ID })
	return m.setKeys(o.Kind, ring, KeyDropped)
}

func (m *memory) setKeys(kind KeyKind, ring KeyRing, step KeyStep) (Result, []Event, error) {
	m.keys[kind] = ring
	return Result{}, []Event{{Kind: EventKeysChanged, Key: kind, Step: step}}, nil
}

// beginKeys makes the rings of a new cluster.
func (m *memory) beginKeys(i Identity, at time.Time) {
	m.keys[KeyCA] = KeyRing{Primary: 1, Keys: []Key{{ID: 1, Sealed: i.SealedCAKey, Cert: i.CACert, Created: at}}}
	m.keys[KeyGossip] = KeyRing{Primary: 1, Keys: []Key{{ID: 1, Sealed: i.SealedGossipKey, Created: at}}}
}
