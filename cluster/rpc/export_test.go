package rpc

import "net"

// Addr is the address that the port listens on.
func (m *Mesh) Addr() net.Addr { return m.config.Listener.Addr() }
