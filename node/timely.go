package node

import (
	"net/http"
	"time"
)

// timely bounds how long the body of a request may take to come, and the answer
// to go: whoever sends or reads a byte a minute would hold a connection for
// ever, before anybody knows who it is. A handler may set other deadlines; a
// WebSocket leaves them behind when it is upgraded.
func timely(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control, now := http.NewResponseController(w), time.Now()
		// Not each writer has deadlines.
		_ = control.SetWriteDeadline(now.Add(answerTimeout))
		if r.Body != nil && r.Body != http.NoBody {
			// Also for what next leaves unread: the server reads and drops it. When
			// the body is there, the server takes the deadline away.
			_ = control.SetReadDeadline(now.Add(bodyTimeout))
		}
		next.ServeHTTP(w, r)
	})
}
