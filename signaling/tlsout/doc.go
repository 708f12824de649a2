// Package tlsout has connections of TLS whose bytes are written by somebody else than
// crypto/tls. Who serves them can then tell which bytes on the wire carry what it said,
// ask the kernel which of them have arrived, and write without waiting; crypto/tls
// does no more than to seal, and to read.
//
//	Listener ── *tls.Conn ── Conn ── socket           until Hold
//	text ── Seal ── *tls.Conn ── Conn ── records ── who writes ── socket
package tlsout
