// Package signaling speaks the standalone signaling protocol: sessions of
// clients, rooms that are spread over nodes, and the backends that own them.
//
//	client ─ws─ conn ─ Session ──┬─ Desk ─ media               (the session's edge)
//	                             └─ replica ─frame─> room      (the room's home)
//	clients <─ Session <─ replica <─ events, (epoch, seq) ─┘
//	backend ─POST─> any node ─> room        other nodes ─gRPC─ peer
//
// A client that comes to a node which does not have its session is served by way of
// the node that has it (front.go), or gets it anew (resume.go, takeover.go):
//
//	client ─ws─ conn ─ tunnel ─gRPC─ passage ─ conn ─ Session
//
// A client may be in a room at another signaling server (federated.go, package
// federation), and another server may speak for a client:
//
//	client ─ws─ conn ─ Session ─ Link ─wss─ the other server
//
// Edge and home are roles of every node; on a single node the frames are handed
// over directly. Goroutines: a conn has a reader, and a writer while its client
// has to be waited for (a few write to all others); a room (home side) and a peer
// have one each, a peer's stream one more to receive and one that watches it; a
// front has one at its near end, three at its far end. A replica has none: whoever
// brings an event applies it. Run waits
// for all of them.
package signaling
