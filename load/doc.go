// Package load is a client of the signaling protocol without a picture to show:
// it publishes synthetic VP8 and Opus, listens to others, and checks every
// packet it receives.
//
//	Run ── Client (WebSocket) ── hello, room, offer, requestoffer ──> node
//	         |
//	         ├─ Publisher: feed ──stamped packets──> PeerConnection ──> node
//	         └─ Subscription: node ──> PeerConnection ──> Stream (per track)
//	                                                        |
//	                                     counts, delays ──> Report
//
// Each packet carries a stamp: who sent it, its number, when, and a checksum
// over the payload. So a receiver sees by itself what is missing, changed,
// doubled or late, whatever the nodes in between did to the headers.
//
// A Client owns its reader, one goroutine per peer connection for negotiation
// and, while media flow, one per track. Close waits for all of them. All clients
// of a Run are in one process, so that delays are measured with one clock.
package load
