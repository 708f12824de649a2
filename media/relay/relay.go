// Package relay carries publications between nodes, each track once per pair
// of nodes however many listen.
//
//	publisher's edge                                      listener's edge
//	media.Local ─Attach─▶ outLayer.Write                  Manager.Pull ◀── engine
//	(layer goroutine)         │ seal into a udp.Burst          ▲ Source.Read (layer goroutine)
//	                          ▼                                │ bounded queue
//	                     UDP socket ──── RTP, sealed ────▶ Manager.read ─▶ inLayer ─▶ repair
//	flow.control ◀─ Manager.read ◀── NACK, keyframe, sealed ── pull.ask ◀────────────────┘
//	flow.run (gRPC handler) ──── RPC stream: clocks, data-channel messages, end ──▶ pull.listen
//
// Goroutines: Manager.Run reads the socket; each pull has listen and ask, which
// its Close waits for; each flow has control and audit, which the handler of its
// RPC waits for. Topology is the other packages' business: a pull goes to the edge
// that the publication names.
//
// A datagram is a header of 18 bytes, the sealed packet, and a tag of 16 bytes.
// Encoders send RTP of at most 1200 bytes, so that it fits an Ethernet frame;
// a larger packet is left to the fragmentation of IP. What a layer's goroutine
// has at once is one burst: sealed, padded to one size and given to the kernel as
// one message, received as one, opened, and handed to the next layer at once.
package relay

import (
	"context"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/store"
)

// Config is what a Manager needs of the node's configuration.
type Config struct {
	ListenUDP string // "ip:port" of the relay socket
	Advertise string // "host:port" that other nodes send to; empty: the address of the socket, which must then not be a wildcard
}

// Peers opens RPC connections to other nodes.
type Peers interface {
	Dial(store.NodeID) (grpc.ClientConnInterface, error)
}

// Deps are the neighbours of a Manager. All but Logger and Registerer are
// required; none is called by NewManager.
type Deps struct {
	Self  store.NodeID
	Peers Peers
	// PeerID is the node that calls, from its verified certificate.
	PeerID func(context.Context) (store.NodeID, bool)
	// RelayAddr is the "host:port" of another node's relay socket.
	RelayAddr func(store.NodeID) (string, bool)
	// Local finds a publication of this node; see ServeLocal.
	Local func(media.PubID) (Local, bool)
	// Authorize tells whether a node may have a publication. It is asked when a
	// flow begins and again while it lasts; an error until the end of ctx says no.
	Authorize  func(ctx context.Context, peer store.NodeID, id media.PubID) error
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Keys of log attributes.
const (
	logNode        = "peer"
	logPublication = "publication"
)
