//go:build linux

// Bench measures what forwarding a packet costs, against the least that this
// kernel makes possible and against Pion as its examples use it. The method, and
// the last result, are in docs/performance.md.
//
//	process on one core, a new one each round       process on another core
//	floor | talkd | pion  ◀── net/rpc over stdin ── rounds, tables
//	   ▲  │                                           │
//	   │  └──── RTP ───▶ sockets of receivers, whose filter drops and counts
//	   └──────── RTP of a burst each interval ──────── publishers (when paced)
//
// A round connects real receivers to a variant, makes them deaf, and divides the
// CPU time of the forwarding process by what the kernel counted at the receivers.
// Beside it receivers that are not deaf decrypt and look at every packet.
//
// In a forwarding process one goroutine for each stream makes and sends packets;
// they end with it.
package main
