package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"

	"github.com/coder/websocket"

	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/wire"
)

const maxWelcome = 64 << 10

// welcome asks for what a Nextcloud asks for when its administrator enters the URL.
func (l *look) welcome(ctx context.Context) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.url.String()+"/api/v1/welcome", nil)
	if err != nil {
		l.failed(CheckWelcome, err.Error(), "")
		return false
	}
	if l.trusted && l.Ticket != "" {
		req.Header.Set(headerTicket, l.Ticket)
	}
	resp, err := l.client.Do(req)
	if err != nil {
		text, do := explain(l.host, err)
		l.failed(CheckWelcome, text, do)
		return false
	}
	defer func() { _ = resp.Body.Close() }()
	var said struct {
		Version string `json:"version"`
	}
	err = json.NewDecoder(io.LimitReader(resp.Body, maxWelcome)).Decode(&said)
	switch {
	case resp.StatusCode/100 == 3:
		l.failed(CheckWelcome, fmt.Sprintf("answered %d: it is somewhere else, at %s", resp.StatusCode, origin(resp.Header.Get("Location"))), "use the URL that it redirects to")
	case resp.StatusCode != http.StatusOK:
		text, do := statusWords(resp.StatusCode, "talkd")
		l.failed(CheckWelcome, text, do)
	case err != nil || said.Version == "":
		l.failed(CheckWelcome, "something else than a signaling server answers at "+l.url.String()+"/api/v1/welcome", "let the proxy pass this path on to talkd")
	case resp.Header.Get(backend.HeaderFeatures) == "":
		l.failed(CheckWelcome, "the answer comes without the header "+backend.HeaderFeatures+": Nextcloud takes the backend for one that is too old", "let the proxy pass all headers of answers on")
		return true
	default:
		if seen := seenIn(resp.Header); seen != nil {
			l.proxy(resp.Header, *seen)
		}
		return true
	}
	return false
}

// proxy finds out whether the node knows who is behind a reverse proxy.
func (l *look) proxy(answer http.Header, seen seen) {
	by := answer.Get("Server")
	if by == "" {
		by = answer.Get("Via")
	}
	who := "the reverse proxy"
	if by != "" {
		who += fmt.Sprintf(" (%.40s)", by)
	}
	switch {
	case !seen.Forwarded && by == "":
		// There is none, or one that nobody can see.
	case !seen.Forwarded:
		l.warning(CheckProxy, who+" does not say whom it speaks for: all its people are one address to the node, and slow each other down when one of them guesses passwords",
			"let it set X-Forwarded-For, and name it in http.trusted_proxies")
	case !seen.Trusted:
		l.warning(CheckProxy, who+" at "+seen.Peer+" is not trusted: all its people are one address to the node, and slow each other down when one of them guesses passwords",
			"http.trusted_proxies: ["+network(seen.Peer)+"] on each node behind it")
	default:
		l.ok(CheckProxy, who+" says whom it speaks for, and the node believes it")
	}
}

// network is an address as a configuration has it.
func network(addr string) string {
	a, err := netip.ParseAddr(addr)
	if err != nil {
		return addr
	}
	return netip.PrefixFrom(a, a.BitLen()).String()
}

// socket opens a WebSocket as clients do, and hears the welcome.
func (l *look) socket(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	//nolint:bodyclose // the library closes the body of the answer itself
	ws, resp, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(l.url.String(), "http")+"/spreed?redirect=0", &websocket.DialOptions{HTTPClient: l.client})
	if err != nil {
		l.failedUpgrade(resp, err)
		return
	}
	defer func() { _ = ws.CloseNow() }()
	ws.SetReadLimit(maxWelcome)
	_, frame, err := ws.Read(ctx)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			l.failed(CheckWebSocket, "it opens, but nothing comes through", "the proxy may hold back what comes: switch buffering off for this path")
			return
		}
		l.failed(CheckWebSocket, "it opens, and is cut at once: "+innermost(err), "look into the log of the proxy")
		return
	}
	var m wire.ServerMessage
	if err := json.Unmarshal(frame, &m); err != nil || m.Welcome == nil {
		l.failed(CheckWebSocket, "it opens, but something else than a signaling server answers", "let the proxy pass this path on to talkd")
		return
	}
	switch {
	case m.Welcome.Node == "":
		l.failed(CheckWebSocket, fmt.Sprintf("it opens, but leads to another signaling server (version %.40s)", m.Welcome.Version), "the proxy still passes people on to the old one: let it pass them on to talkd")
	case l.Node != "" && m.Welcome.Node != l.Node:
		l.warning(CheckWebSocket, fmt.Sprintf("the URL of %s leads to %s: people who are sent to %s come to the wrong node", l.Node, m.Welcome.Node, l.Node),
			"give each node a name of its own in http.public_url, beside the one that they may share")
	default:
		l.ok(CheckWebSocket, fmt.Sprintf("opens, and %s says welcome", m.Welcome.Node))
	}
}

func (l *look) failedUpgrade(resp *http.Response, err error) {
	if resp == nil {
		text, do := explain(l.host, err)
		l.failed(CheckWebSocket, text, do)
		return
	}
	status := resp.StatusCode
	switch {
	case status == http.StatusUpgradeRequired, status == http.StatusBadRequest, status == http.StatusSwitchingProtocols:
		l.failed(CheckWebSocket, fmt.Sprintf("answered %d (%s): the wish for a WebSocket does not arrive", status, http.StatusText(status)),
			"let the reverse proxy speak HTTP/1.1 with the node and pass the headers Upgrade and Connection on (docs/nextcloud.md has examples)")
	case status/100 == 3:
		l.failed(CheckWebSocket, fmt.Sprintf("answered %d: it is somewhere else, at %s; browsers do not follow", status, origin(resp.Header.Get("Location"))), "use the URL that it redirects to")
	case status == http.StatusOK:
		l.failed(CheckWebSocket, "a page comes in place of a WebSocket", "let the proxy pass "+l.url.Path+"/spreed on to talkd")
	default:
		text, do := statusWords(status, "talkd")
		l.failed(CheckWebSocket, text, do)
	}
}
