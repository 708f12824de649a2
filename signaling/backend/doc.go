// Package backend is the Nextcloud side of signaling: the instances this
// cluster serves, what is asked of them, and what they ask of us.
//
//	hello, room ──> Client ──POST, HMAC──> Nextcloud   auth, room, ping
//	POST /api/v1/room/{id} ──> Registry.VerifyRequest ──> DecodeRequest ──> hub
//
// Nobody but the operator says where requests go: a client's URL only chooses
// among the configured instances, and the request is built from the configured
// one. The package starts no goroutine of its own: who asks writes and reads. The
// connections inside Client are closed by Close.
package backend
