package tlsout

import (
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"
)

// NewListener gives connections of TLS, as tls.NewListener does, that can be held.
func NewListener(l net.Listener, config *tls.Config) net.Listener {
	return tls.NewListener(listener{l}, config)
}

type listener struct{ net.Listener }

func (l listener) Accept() (net.Conn, error) {
	socket, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &Conn{Conn: socket}, nil
}

// Conn is the socket under a connection of TLS. Until it is held it is as any.
type Conn struct {
	net.Conn
	tls *tls.Conn

	mu      sync.Mutex
	held    bool   // guarded by mu
	sealing bool   // guarded by mu; what is written is for who has asked for it
	written int64  // guarded by mu; to the socket, until it was held
	records []byte // guarded by mu; what crypto/tls has written since they were taken last
}

// maxUnasked bounds what crypto/tls has to say for itself until something is sealed: an
// answer for each new key that the other end makes, and it may make as many as it likes.
const maxUnasked = 4 << 10

var errUnasked = errors.New("tlsout: the other end makes too many keys")

// Hold ends that anything is written to the socket of c by crypto/tls. It gives the Conn,
// and how many bytes have been written to the socket, or false if c does not come from a
// listener of here. Nothing may be written to c at that time.
func Hold(c net.Conn) (conn *Conn, written int64, ok bool) {
	over, ok := c.(*tls.Conn)
	if !ok {
		return nil, 0, false
	}
	conn, ok = over.NetConn().(*Conn)
	if !ok {
		return nil, 0, false
	}
	conn.mu.Lock()
	defer conn.mu.Unlock()
	conn.tls, conn.held = over, true
	return conn, conn.written, true
}

// Seal appends what is to be written for p to wire, after what crypto/tls has to say for
// itself, such as new keys. All of it must be written, in the order in which it was sealed.
// It is called by one goroutine at a time.
func (c *Conn) Seal(wire, p []byte) ([]byte, error) {
	c.mu.Lock()
	c.records, c.sealing = append(wire, c.records...), true
	c.mu.Unlock()
	_, err := c.tls.Write(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	wire, c.records, c.sealing = c.records, nil, false
	return wire, err
}

// SealEnd gives what tells the other end that nothing more comes (close_notify, RFC 8446
// section 6.1). After it nothing can be sealed.
func (c *Conn) SealEnd() ([]byte, error) {
	err := c.tls.CloseWrite()
	_ = c.SetWriteDeadline(time.Time{}) // crypto/tls lets nothing more be written; on a closed one, which Write says too
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.records, err
}

// Write is for crypto/tls.
func (c *Conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	if c.held {
		defer c.mu.Unlock()
		if !c.sealing && len(c.records)+len(p) > maxUnasked {
			return 0, errUnasked // the next Seal fails with it
		}
		c.records = append(c.records, p...)
		return len(p), nil
	}
	c.mu.Unlock()
	n, err := c.Conn.Write(p)
	c.mu.Lock()
	c.written += int64(n)
	c.mu.Unlock()
	return n, err
}
