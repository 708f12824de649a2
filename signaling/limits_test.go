package signaling_test

import (
	"maps"
	"net/http"
	"sync"
	"testing"

	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/signalingtest"
	"github.com/talkd/talkd/signaling/wire"
)

// limited gives the Nextcloud of a cluster limits, and changes them later.
func limited(c *cluster, l backend.Limits) {
	in := c.nextcloud.Instance()
	in.Limits = l
	for _, r := range c.registries {
		if err := r.Set([]backend.Instance{in}); err != nil {
			c.t.Fatal(err)
		}
	}
}

// TestBackendLimits: an instance has its own limits of sessions, in the whole
// cluster, and of bitrates; they may change at any time.
func TestBackendLimits(t *testing.T) {
	c := newCluster(t, 2)
	people(c)
	limited(c, backend.Limits{Sessions: 2, MaxStreamBitrate: 300_000})
	id := c.room("room").Backend
	counted := func(want int) {
		t.Helper()
		for _, n := range c.nodes {
			eventually(t, "the count", func() bool { return n.hub.SessionsOf(id) == want })
		}
	}
	alice := c.come(c.nodes[0], "alice")
	bob := c.come(c.nodes[1], "bob")
	counted(2)
	hello := wire.ClientMessage{Type: wire.TypeHello, Hello: &wire.Hello{
		Version: wire.Version, Auth: &wire.Auth{URL: c.nextcloud.AuthURL(), Params: params("alice")},
	}}
	for _, n := range c.nodes {
		other := signalingtest.Dial(t, n.url())
		other.Welcome()
		if answer := other.Ask(hello); answer.Error == nil || answer.Error.Code != wire.CodeSessionLimit {
			t.Errorf("answer %s", wire.Encode(answer))
		}
	}
	room := alice.Join("room", "nc-alice")
	if room.Bandwidth.MaxStreamBitrate != 300_000 || room.Bandwidth.MaxScreenBitrate != 2<<20 {
		t.Errorf("bandwidth %+v", room.Bandwidth)
	}
	bob.Bye()
	counted(1)
	c.come(c.nodes[0], "bob")
	counted(2)

	limited(c, backend.Limits{})
	c.come(c.nodes[1], "bob")
	counted(3)
	// A node that is dead has nobody.
	c.nodes[1].kill()
	eventually(t, "the count", func() bool { return c.nodes[0].hub.SessionsOf(id) == 2 })

	// An instance that is not served any more lets nobody in; who is in stays.
	for _, r := range c.registries {
		if err := r.Set(nil); err != nil {
			t.Fatal(err)
		}
	}
	other := signalingtest.Dial(t, c.nodes[0].url())
	other.Welcome()
	if answer := other.Ask(hello); answer.Error == nil || answer.Error.Code != wire.CodeInvalidBackend {
		t.Errorf("answer %s", wire.Encode(answer))
	}
	alice.Barrier()
}

// TestBackendLimitAtOnce: of many who come to a node while their instance takes its time
// no more get in than may.
func TestBackendLimitAtOnce(t *testing.T) {
	const n, most = 6, 2
	c := newCluster(t, 1)
	people(c)
	limited(c, backend.Limits{Sessions: most})
	hold, asked := make(chan struct{}), make(chan struct{}, n)
	answer := sync.OnceFunc(func() { close(hold) })
	t.Cleanup(answer)
	c.nextcloud.Break(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked <- struct{}{}
		<-hold
		w.WriteHeader(http.StatusServiceUnavailable) // it is asked again
	}))
	var clients []*signalingtest.Client
	for range n {
		client := signalingtest.Dial(t, c.nodes[0].url())
		client.Welcome()
		client.Send(wire.ClientMessage{ID: "hello", Type: wire.TypeHello, Hello: &wire.Hello{
			Version: wire.Version, Auth: &wire.Auth{URL: c.nextcloud.AuthURL(), Params: params("alice")},
		}})
		<-asked
		clients = append(clients, client)
	}
	c.nextcloud.Break(nil)
	answer()
	in := 0
	for _, client := range clients {
		switch m := client.Expect("answer", func(m *wire.ServerMessage) bool { return m.ID == "hello" }); {
		case m.Hello != nil:
			in++
		case m.Error == nil || m.Error.Code != wire.CodeSessionLimit:
			t.Errorf("answer %s", wire.Encode(m))
		}
	}
	if in != most {
		t.Errorf("%d are in, want %d", in, most)
	}
}

// Sessions and rooms are counted by their Nextcloud, also while there are none: a
// dashboard has a line, not a gap.
func TestPerBackend(t *testing.T) {
	c := newCluster(t, 1)
	people(c)
	n := c.nodes[0]
	series := func() map[string]float64 {
		families, err := n.metrics.Gather()
		if err != nil {
			t.Fatal(err)
		}
		values := map[string]float64{}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				for _, l := range m.GetLabel() {
					if l.GetName() == "backend" && l.GetValue() == string(c.room("room").Backend) {
						values[f.GetName()] = m.GetGauge().GetValue()
					}
				}
			}
		}
		return values
	}
	want := map[string]float64{"talkd_signaling_backend_sessions": 0, "talkd_signaling_backend_rooms": 0}
	if got := series(); !maps.Equal(got, want) {
		t.Errorf("of nobody: %v", got)
	}
	c.come(n, "bob")
	alice := c.enter(n, "alice")
	want = map[string]float64{"talkd_signaling_backend_sessions": 2, "talkd_signaling_backend_rooms": 1}
	if got := series(); !maps.Equal(got, want) {
		t.Errorf("%v", got)
	}
	alice.Bye()
	want["talkd_signaling_backend_sessions"] = 1 // the room stays for a while
	eventually(t, "she is gone", func() bool { return maps.Equal(series(), want) })
	limited(c, backend.Limits{Sessions: 30})
	want["talkd_signaling_backend_session_limit"] = 30 // without one there is none
	if got := series(); !maps.Equal(got, want) {
		t.Errorf("limited: %v", got)
	}
}
