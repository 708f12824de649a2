package cluster

import (
	"context"
	"log/slog"
	"net"

	"github.com/hashicorp/memberlist"
)

// Network is how a node is reached and reaches the others. clustertest has one
// in memory, whose links can be cut.
type Network interface {
	// Listen takes the TCP port of Raft and RPC.
	Listen(addr string) (net.Listener, error)
	DialContext(ctx context.Context, network, addr string) (net.Conn, error)
	// Gossip takes the port of gossip, UDP and TCP. Shutdown closes it and all
	// streams that came through it.
	Gossip(addr string) (memberlist.NodeAwareTransport, error)
}

// machine is the network of this machine.
type machine struct {
	net.Dialer
	log *slog.Logger
}

// Listen takes a TCP port.
func (machine) Listen(addr string) (net.Listener, error) {
	return (&net.ListenConfig{}).Listen(context.Background(), "tcp", addr)
}

// Gossip takes a port for UDP and TCP.
func (m *machine) Gossip(addr string) (memberlist.NodeAwareTransport, error) {
	return newGossipTransport(addr, newGossipLog(m.log))
}

// gossipAddress is the address that a gossip port has.
func gossipAddress(t memberlist.Transport, asked string) string {
	ip, port, err := t.FinalAdvertiseAddr("", 0)
	if err != nil { // listening on all addresses of a machine that has none
		return asked
	}
	return (&net.TCPAddr{IP: ip, Port: port}).String()
}
