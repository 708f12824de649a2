package e2e

import (
	"fmt"
	"strings"
	"time"
)

// marks notes when what happens to a page's sockets and connections, by the
// classes that collect has put in the place of the browser's.
const marks = `(() => {
  window.testMarks = [];
  const mark = (what) => {
    if (window.testMarks.push({at: Math.round(performance.timeOrigin + performance.now()), what}) > 2000) window.testMarks.shift();
  };
  const said = (frame) => {
    const m = JSON.parse(frame);
    return m.message?.data?.type ?? m.type;
  };
  const Socket = window.WebSocket;
  let sockets = 0;
  window.WebSocket = class extends Socket {
    constructor(url, ...rest) {
      super(url, ...rest);
      this.name = 'socket ' + sockets++;
      mark(this.name + ' to ' + new URL(url).host);
      for (const e of ['open', 'close', 'error']) this.addEventListener(e, () => mark(this.name + ' ' + e));
      this.addEventListener('message', (e) => mark(this.name + ' hears ' + said(e.data)));
    }
    send(frame) {
      mark(this.name + ' says ' + said(frame));
      super.send(frame);
    }
  };
  const Peer = window.RTCPeerConnection;
  let peers = 0;
  window.RTCPeerConnection = class extends Peer {
    constructor(...args) {
      super(...args);
      const name = 'connection ' + peers++;
      mark(name);
      this.addEventListener('iceconnectionstatechange', () => mark(name + ' ice ' + this.iceConnectionState));
      this.addEventListener('connectionstatechange', () => mark(name + ' ' + this.connectionState));
      this.addEventListener('track', ({track}) => track.addEventListener('unmute', () => mark(name + ' brings ' + track.kind)));
    }
  };
})();`

// mark is something that happened on a page.
type mark struct {
	At   int64 // ms
	What string
}

// marksFrom tells what happened on the page from a moment on.
func (p *person) marksFrom(at time.Time) string {
	p.t.Helper()
	var b strings.Builder
	for _, m := range eval[[]mark](p, `window.testMarks`) {
		if m.At >= at.UnixMilli()-50 {
			fmt.Fprintf(&b, "%5d ms  %s\n", m.At-at.UnixMilli(), m.What)
		}
	}
	return b.String()
}
