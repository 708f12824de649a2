package node

import "context"

// leave tells the others that this node is about to stop, and if there is time
// sends its people and rooms to them:
//
//	SIGTERM ─▶ draining bit ─▶ leader moves rooms ─▶ hub moves people ─▶ stop
//
// It ends when nobody is left, when no other node could take them, after
// node.drain_timeout, and at Hurry.
func (n *Node) leave(inTime bool) {
	n.gate.leaving.Store(true)
	n.cluster.SetDraining(true)
	if !inTime || n.cfg.Node.DrainTimeout == 0 {
		return
	}
	n.log.Info("leaving", "within", n.cfg.Node.DrainTimeout)
	ctx, cancel := context.WithTimeout(n.patience, n.cfg.Node.DrainTimeout)
	defer cancel()
	left := n.hub.Drain(ctx)
	n.log.Info("left", "sessions", left.Sessions, "rooms", left.Rooms)
}

// Hurry makes a node that stops, or will, wait for nobody.
func (n *Node) Hurry() { n.hurry() }
