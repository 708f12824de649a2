// Package wire holds the messages of the standalone signaling protocol, as
// they travel between a client and its edge. It does no I/O and starts no
// goroutine.
//
//	socket -> frame -> Decode -> *ClientMessage -> session
//	                     | bounds: size, depth, UTF-8; then Validate
//	session -> ServerMessage -> Encode (once) -> frame -> n sockets
//
// What clients say to each other (the "data" of a message) passes through as it
// came; only the data that drive media are read, by DecodeMedia.
//
// Every refusal is a sentinel of this package or an *Error. ErrorFor turns
// either into what goes over the wire, so that the codes of the protocol stand
// in one table.
package wire
