// Package signalingtest is the kit for tests of signaling: a Nextcloud, a
// client, and transcripts.
//
//	test ──> Nextcloud (httptest) <──auth, room, ping── node under test
//	  |          └──POST /api/v1/room/{id}──────────────────> |
//	  └────> Client (WebSocket) <──────────────────────────── ┘
//
// Nothing sleeps: whatever is waited for is a condition with a deadline. A
// Client owns one goroutine, its reader, which ends with the connection; all is
// taken down by the cleanup of the test that made it.
package signalingtest

import "time"

// Patience is how long an expectation waits before the test fails. It is long,
// as only failing tests wait for it.
const Patience = 10 * time.Second
