// Package api is the door for requests over HTTP: the slice of the public Talk
// API that the embedded backend serves, and the operator's listener.
//
//	client ── /ocs/v1.php, /ocs/v2.php ── Server ── params, actor, route ─┐
//	                                                                      │
//	    reads:  *store.DB      writes: Proposer (command, committed, applied)
//	    calls:  Calls (the room at its home)      homes: Places (lookup only)
//
//	signaling ── AuthenticateTicket, AuthorizeJoin ── Server
//	operator ─── /admin/v1, /metrics, /healthz ── Admin ── Cluster, Rooms, Events
//
// Ids of Talk sessions, guests and tickets are sealed by a secret of the
// cluster: each node opens what another one sealed, and nobody's joining is a
// write. The package starts no goroutine that outlives its request.
package api
