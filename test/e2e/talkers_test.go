//go:build linux

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/talkd/talkd/load"
	"github.com/talkd/talkd/signaling/signalingtest"
	"github.com/talkd/talkd/signaling/wire"
)

// talkers are clients that only talk, without media, so that thousands of them fit
// into one process. Each says messages with numbers and hears those of the others in
// its room.
type talkers struct {
	t  *testing.T
	nc *signalingtest.Nextcloud

	mu  sync.Mutex
	all []*talker // guarded by mu
}

func newTalkers(t *testing.T, nc *signalingtest.Nextcloud) *talkers {
	ts := &talkers{t: t, nc: nc}
	t.Cleanup(ts.close)
	return ts
}

// talker is one of them. What it heard belongs to its reader until it is asked for
// under mu.
type talker struct {
	number int
	node   string
	ws     *websocket.Conn
	socket *stamped
	done   chan struct{} // closed when nothing is read any more

	mu     sync.Mutex
	said   map[int]int         // guarded by mu; the last number that each sender was heard with
	wrong  int                 // guarded by mu; messages that were missed, doubled or out of order
	heard  int                 // guarded by mu
	last   time.Time           // guarded by mu; when that was
	delays map[string][]uint32 // guarded by mu; in µs, from the write to the other socket, by the node of who said it
	err    error               // guarded by mu
}

// enter brings n clients into rooms of as many as said, evenly spread over the
// nodes of each room, so many a second.
func (ts *talkers) enter(nodes []node, room string, n, each int, gap time.Duration) {
	ts.t.Helper()
	errs := make(chan error, n)
	begin := time.NewTicker(max(gap, 1))
	defer begin.Stop()
	ctx, cancel := context.WithTimeout(ts.t.Context(), 5*time.Minute)
	defer cancel()
	for i := range n {
		name := fmt.Sprintf("%s-%d", room, i/each)
		if i%each == 0 {
			ts.nc.SetRoom(name, signalingtest.Room{})
		}
		<-begin.C
		go func() { errs <- ts.come(ctx, nodes[i%len(nodes)], name, i) }()
	}
	for range n {
		if err := <-errs; err != nil {
			ts.t.Fatal(err)
		}
	}
}

func (ts *talkers) come(ctx context.Context, at node, room string, number int) error {
	socket := new(stamped)
	//nolint:bodyclose // the library closes the body of the answer itself
	ws, _, err := websocket.Dial(ctx, load.SocketURL(at.HTTP), &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: &http.Transport{DialContext: socket.dial}},
	})
	if err != nil {
		return err
	}
	ws.SetReadLimit(4 << 20)
	k := &talker{number: number, node: at.Node, ws: ws, socket: socket, done: make(chan struct{}), said: make(map[int]int), delays: make(map[string][]uint32)}
	user := fmt.Sprintf("talker-%s-%d", room, number)
	hello := &wire.Hello{Version: wire.Version, Auth: &wire.Auth{URL: ts.nc.AuthURL(), Params: ts.nc.AddUser(user, user)}}
	if err := k.ask(ctx, wire.ClientMessage{ID: "1", Type: wire.TypeHello, Hello: hello}); err != nil {
		return fmt.Errorf("hello: %w", err)
	}
	if err := k.ask(ctx, wire.ClientMessage{ID: "2", Type: wire.TypeRoom, Room: &wire.JoinRoom{RoomID: room, SessionID: seatOf(user)}}); err != nil {
		return fmt.Errorf("join: %w", err)
	}
	ts.mu.Lock()
	ts.all = append(ts.all, k)
	ts.mu.Unlock()
	go k.listen()
	return nil
}

// ask waits for the answer to a question.
func (k *talker) ask(ctx context.Context, m wire.ClientMessage) error {
	raw, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := k.ws.Write(ctx, websocket.MessageText, raw); err != nil {
		return err
	}
	for {
		_, raw, err := k.ws.Read(ctx)
		if err != nil {
			return err
		}
		var answer wire.ServerMessage
		switch err := json.Unmarshal(raw, &answer); {
		case err != nil:
			return err
		case answer.ID != m.ID:
		case answer.Error != nil:
			return answer.Error
		default:
			return nil
		}
	}
}

// listen reads until the socket ends.
func (k *talker) listen() {
	defer close(k.done)
	for {
		_, raw, err := k.ws.Read(context.Background())
		if err != nil {
			k.mu.Lock()
			k.err = err
			k.mu.Unlock()
			return
		}
		if m, ok := parseTalk(raw); ok {
			k.hear(m)
		}
	}
}

// talk is what a talker says.
type talk struct {
	from, number int
	node         string
	at           int64 // when it was said, in ns
}

const talkMark = `"data":{"talk":"`

// data looks like what clients say of themselves, in its length too.
func (m talk) data() json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"talk":"%d %d %s %d","type":"nickChanged","payload":{"name":"Somebody with a name"}}`, m.from, m.number, m.node, m.at))
}

// parseTalk does not take a message apart for which no time is to be lost.
func parseTalk(raw []byte) (m talk, ok bool) {
	_, raw, ok = bytes.Cut(raw, []byte(talkMark))
	if !ok {
		return m, false
	}
	raw, _, _ = bytes.Cut(raw, []byte{'"'})
	f := bytes.Fields(raw)
	if len(f) != 4 {
		return m, false
	}
	var errs [3]error
	m.from, errs[0] = strconv.Atoi(string(f[0]))
	m.number, errs[1] = strconv.Atoi(string(f[1]))
	m.at, errs[2] = strconv.ParseInt(string(f[3]), 10, 64)
	m.node = string(f[2])
	return m, errs == [3]error{}
}

func (k *talker) hear(m talk) {
	now := time.Now()
	delay := k.socket.came - time.Duration(m.at)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last = now
	if m.number != k.said[m.from]+1 {
		k.wrong++
	}
	k.said[m.from] = m.number
	k.heard++
	k.delays[m.node] = append(k.delays[m.node], uint32(delay.Microseconds()))
}

// say lets everybody say n messages, one after the other as soon as it is due.
func (ts *talkers) say(n int, gap time.Duration) {
	ts.t.Helper()
	var wg sync.WaitGroup
	errs := make(chan error, len(ts.all))
	start := time.Now()
	for i, k := range ts.all {
		wg.Go(func() {
			k.mu.Lock()
			first := k.said[k.number]
			k.said[k.number] = first + n
			k.mu.Unlock()
			// Not all in the same moment, unless that is what is asked for.
			due := start.Add(gap * time.Duration(i) / time.Duration(len(ts.all)))
			for j := range n {
				talkFor(ts.t, time.Until(due))
				m := talk{from: k.number, number: first + j + 1, node: k.node, at: time.Now().UnixNano()}
				raw, err := json.Marshal(wire.ClientMessage{Type: wire.TypeMessage, Message: &wire.Send{Recipient: wire.Recipient{Type: wire.ToRoom}, Data: m.data()}})
				if err == nil {
					err = k.ws.Write(ts.t.Context(), websocket.MessageText, raw)
				}
				if err != nil {
					errs <- err
					return
				}
				due = due.Add(gap)
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		ts.t.Error(err)
	}
}

// heardAll is what all heard since the last time.
type heardAll struct {
	heard, wrong, ended int
	last                time.Time // when the last message was heard
	near, far           []uint32  // delays in µs within a node and between nodes, sorted
}

// await waits until all have heard n messages, or somebody cannot any more, and
// forgets what was heard.
func (ts *talkers) await(n int, within time.Duration) heardAll {
	ts.t.Helper()
	eventually(ts.t, within, fmt.Sprintf("%d talkers hear %d messages", len(ts.all), n), func() (bool, string) {
		least, _ := ts.least(n)
		return least >= n, fmt.Sprintf("one has heard %d", least)
	})
	return ts.forget()
}

// awaitLull is await, but takes it that what has not come for a while does not come.
func (ts *talkers) awaitLull(n int) heardAll {
	ts.t.Helper()
	const lull = 3 * time.Second
	eventually(ts.t, time.Minute, "the talkers to hear nothing more", func() (bool, string) {
		least, last := ts.least(n)
		return least >= n || time.Since(last) > lull, fmt.Sprintf("one has heard %d", least)
	})
	return ts.forget()
}

// least is how much of n all of those have heard who still hear, and when somebody
// heard something last.
func (ts *talkers) least(n int) (least int, last time.Time) {
	least = n
	for _, k := range ts.all {
		k.mu.Lock()
		if k.err == nil {
			least = min(least, k.heard)
		}
		if k.last.After(last) {
			last = k.last
		}
		k.mu.Unlock()
	}
	return least, last
}

func (ts *talkers) forget() (o heardAll) {
	for _, k := range ts.all {
		k.mu.Lock()
		o.heard += k.heard
		o.wrong += k.wrong
		if k.last.After(o.last) {
			o.last = k.last
		}
		if k.err != nil {
			o.ended++
		}
		for from, delays := range k.delays {
			if from == k.node {
				o.near = append(o.near, delays...)
			} else {
				o.far = append(o.far, delays...)
			}
		}
		k.heard, k.wrong = 0, 0
		clear(k.delays)
		k.mu.Unlock()
	}
	slices.Sort(o.near)
	slices.Sort(o.far)
	return o
}

// quantile is one of sorted delays, in ms.
func quantile(sorted []uint32, p float64) float64 {
	return float64(sorted[int(p*float64(len(sorted)-1))]) / 1000
}

func (ts *talkers) close() {
	ts.mu.Lock()
	all := ts.all
	ts.all = nil
	ts.mu.Unlock()
	for _, k := range all {
		_ = k.ws.CloseNow()
	}
	for _, k := range all {
		<-k.done
	}
}
