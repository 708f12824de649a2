package rpc

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/talkd/talkd/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds what a test waits for; nothing takes that long.
const patience = 30 * time.Second

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// ca is a cluster's CA.
type ca struct {
	testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newCA(t testing.TB) *ca {
	t.Helper()
	c := &ca{TB: t, key: newKey(t)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, c.key.Public(), c.key)
	if err != nil {
		t.Fatal(err)
	}
	if c.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return c
}

// leaf makes a certificate; change may spoil it.
func (c *ca) leaf(change func(*x509.Certificate), uris ...*url.URL) *tls.Certificate {
	c.Helper()
	key := newKey(c)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), URIs: uris,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, c.cert, key.Public(), c.key)
	if err != nil {
		c.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		c.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der, c.cert.Raw}, PrivateKey: key, Leaf: cert}
}

func (c *ca) node(id store.NodeID) *credential {
	return &credential{cert: c.leaf(nil, NodeURI(id)), roots: c.pool()}
}

func (c *ca) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(c.cert)
	return p
}

// credential is a node's Identity; the zero value is of a node that has not
// joined yet.
type credential struct {
	cert  *tls.Certificate
	roots *x509.CertPool
}

func (c *credential) Certificate() (*tls.Certificate, error) {
	if c.cert == nil {
		return nil, ErrNoIdentity
	}
	return c.cert, nil
}

func (c *credential) Roots() (*x509.CertPool, error) {
	if c.roots == nil {
		return nil, ErrNoIdentity
	}
	return c.roots, nil
}

// addresses is what the meshes of a test resolve with.
type addresses struct {
	mu sync.Mutex
	m  map[store.NodeID]string
}

func (a *addresses) set(id store.NodeID, addr string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.m == nil {
		a.m = make(map[store.NodeID]string)
	}
	a.m[id] = addr
}

func (a *addresses) resolve(id store.NodeID) (string, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	addr, ok := a.m[id]
	return addr, ok
}

// end is a running mesh.
type end struct {
	*Mesh
	id    store.NodeID
	calls *calls
	stop  func() // returns when Run has returned
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// run starts the mesh of a node and stops it with the test.
func run(t testing.TB, id store.NodeID, identity Identity, book *addresses, change ...func(*Config)) *end {
	t.Helper()
	c := Config{
		Self: id, Listener: listen(t), Identity: identity, Resolve: book.resolve, Dialer: new(net.Dialer),
		Logger: slog.New(slog.DiscardHandler),
	}
	for _, f := range change {
		f(&c)
	}
	e := &end{Mesh: New(c), id: id, calls: newCalls()}
	e.Register(func(r grpc.ServiceRegistrar) { grpc_health_v1.RegisterHealthServer(r, e.calls) })
	book.set(id, e.Addr().String())

	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	e.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("%s: %v", id, err)
		}
	})
	t.Cleanup(e.stop)
	return e
}

// calls answers the RPCs of the tests: the health service of gRPC, with who
// asked in a channel. Watch hangs until its context ends.
type calls struct {
	grpc_health_v1.UnimplementedHealthServer
	peers   chan store.NodeID
	hanging chan struct{}
	panics  atomic.Bool
}

func newCalls() *calls {
	return &calls{peers: make(chan store.NodeID, 64), hanging: make(chan struct{}, 64)}
}

func (c *calls) Check(ctx context.Context, _ *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	if c.panics.Load() {
		panic("for the test")
	}
	id, ok := PeerID(ctx)
	if !ok {
		id = "nobody"
	}
	c.peers <- id
	return &grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVING}, nil
}

func (c *calls) Watch(_ *grpc_health_v1.HealthCheckRequest, s grpc.ServerStreamingServer[grpc_health_v1.HealthCheckResponse]) error {
	if c.panics.Load() {
		panic("for the test")
	}
	if err := s.Send(&grpc_health_v1.HealthCheckResponse{}); err != nil {
		return err
	}
	c.hanging <- struct{}{}
	<-s.Context().Done()
	return s.Context().Err()
}

// check calls a node once.
func check(ctx context.Context, from *end, to store.NodeID) error {
	conn, err := from.Dial(to)
	if err != nil {
		return err
	}
	_, err = grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	return err
}
