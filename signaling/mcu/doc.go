// Package mcu drives the media of one session with the messages of its client.
// It knows no room, no socket and no other node.
//
//	client -> hub -> Desk.Handle -+-> uplink (own video, own screen) ----> Engine.Publish   -> Publisher
//	                              '-> downlink (one per publisher, kind) -> Engine.Subscribe -> Subscriber
//	replica -> hub -> Desk.Announced, Withdrawn, Gone ----^
//	answers, offers, candidates, publications -> Host (the session) -> client, home
//
// Every link has a bounded queue and works on it one request after the other,
// so that order is kept per connection and a slow one holds up no other. A
// link has a goroutine only while there is work; Close waits for all of them.
// Nothing but Close blocks, and nothing is called while a lock is held.
package mcu
