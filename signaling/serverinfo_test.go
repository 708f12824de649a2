package signaling_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/talkd/talkd/signaling"
	"github.com/talkd/talkd/signaling/wire"
)

func fetch(t *testing.T, url string) (status int, answer map[string]any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Errorf("%s: %v: %s", url, err, body)
	}
	return resp.StatusCode, answer
}

// TestServerInfo: facts about the server are for those networks that the operator
// has named.
func TestServerInfo(t *testing.T) {
	c := newCluster(t, 2, func(cfg *signaling.Config, d *signaling.Deps) {
		if d.Self == "n1" {
			cfg.StatsFrom = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		}
	})
	people(c)
	c.pin("room", c.nodes[0])
	c.enter(c.nodes[0], "alice")
	for _, path := range []string{"/api/v1", "/standalone-signaling/api/v1"} {
		status, info := fetch(t, c.nodes[0].url()+path+"/serverinfo")
		features, _ := info["features"].([]any)
		peers, _ := info["grpc"].([]any)
		peer := map[string]any{}
		if len(peers) == 1 {
			peer, _ = peers[0].(map[string]any)
		}
		if status != http.StatusOK || info["version"] != "test" || !slices.Contains(features, any("serverinfo")) || peer["target"] != "n2" || peer["version"] != "test" {
			t.Errorf("status %d: %v", status, info)
		}
		if status, stats := fetch(t, c.nodes[0].url()+path+"/stats"); status != http.StatusOK || stats["sessions"] != 1.0 || stats["rooms"] != 1.0 {
			t.Errorf("status %d: %v", status, stats)
		}
		for _, what := range []string{"/serverinfo", "/stats"} {
			if status, _ := fetch(t, c.nodes[1].url()+path+what); status != http.StatusForbidden {
				t.Errorf("%s for a stranger: status %d", what, status)
			}
		}
	}
}

// TestServerInfoDialout: any node tells who makes calls, at whatever node.
func TestServerInfoDialout(t *testing.T) {
	c := newCluster(t, 2, func(cfg *signaling.Config, _ *signaling.Deps) {
		cfg.StatsFrom = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	expect := func(what string, want any) {
		t.Helper()
		for _, n := range c.nodes {
			eventually(t, what+", as "+string(n.id)+" tells", func() bool {
				_, info := fetch(t, n.url()+"/api/v1/serverinfo")
				return reflect.DeepEqual(info["dialout"], want)
			})
		}
	}
	c.service(c.nodes[1]) // which makes none
	expect("nobody", nil)
	bridge := c.service(c.nodes[1], wire.ClientStartDialout)
	expect("the bridge", []any{map[string]any{
		"sessionid": string(bridge.Session), "connected": true, "address": "127.0.0.1",
		"useragent": "Go-http-client/1.1", "version": "1.1", "features": []any{wire.ClientStartDialout},
	}})
	bridge.Cut()
	expect("the bridge is away", []any{map[string]any{"sessionid": string(bridge.Session), "connected": false}})
}
