package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/talkd/talkd/api/apitest"
	"github.com/talkd/talkd/doctor"
)

// examine runs talkd doctor against a node: what it found, by check.
func (c *cluster) examine(n node, args ...string) (found map[string][]doctor.Finding, failed bool) {
	c.t.Helper()
	cmd := exec.CommandContext(c.t.Context(), talkd, append([]string{"doctor", "--json", "--admin", n.Admin, "--token", n.Token}, args...)...)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		c.t.Fatalf("talkd doctor: %v", err)
	}
	var v struct{ Findings []doctor.Finding }
	if err := json.Unmarshal(out, &v); err != nil {
		c.t.Fatalf("talkd doctor: %v: %s", err, out)
	}
	found = make(map[string][]doctor.Finding)
	for _, f := range v.Findings {
		found[f.Check] = append(found[f.Check], f)
	}
	return found, err != nil
}

// TestDoctor: on a cluster that is well everything is green, media between the nodes
// too; a secret that differs is named by each node.
func TestDoctor(t *testing.T) {
	nc, c := startServing(t, 3)
	found, failed := c.examine(c.nodes[0])
	if failed {
		t.Errorf("something failed: %+v", found)
	}
	for check, n := range map[string]int{
		doctor.CheckWebSocket: 3, doctor.CheckNextcloud: 3, doctor.CheckSecret: 3, doctor.CheckClock: 3, doctor.CheckKey: 3, doctor.CheckMedia: 6,
	} {
		if len(found[check]) != n || doctor.Count(found[check], doctor.OK) != n {
			t.Errorf("%s: %+v, want %d that are well", check, found[check], n)
		}
	}

	other := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(other, []byte("another secret, long enough as well"), 0o600); err != nil {
		t.Fatal(err)
	}
	n := c.nodes[2]
	if out, err := exec.CommandContext(t.Context(), talkd, "backend", "add", nc.URL(), "--secret-file", other, "--admin", n.Admin, "--token", n.Token).CombinedOutput(); err != nil {
		t.Fatalf("talkd backend add: %v: %s", err, out)
	}
	found, failed = c.examine(n, "--media=false")
	if !failed || doctor.Count(found[doctor.CheckSecret], doctor.Failed) != 3 || doctor.Count(found[doctor.CheckNextcloud], doctor.OK) != 3 {
		t.Errorf("another secret: %+v", found)
	}
}

// TestDoctorTURN: who asks a node for TURN servers, as a client, as a service and as an operator,
// gets credentials that a server takes.
func TestDoctorTURN(t *testing.T) {
	const key = "the key of the recorder"
	port := relayServer(t)
	uris := []string{fmt.Sprintf("turn:127.0.0.1:%d?transport=udp", port), fmt.Sprintf("turn:127.0.0.1:%d?transport=tcp", port)}
	text := fmt.Sprintf("turn:\n  servers: [%q, %q]\n  secret: %s\n  api_key: %s\n  stun: [\"stun:127.0.0.1:%d\"]\n", uris[0], uris[1], turnSecret, key, port)
	c := startCluster(t, 1, "--config", configured(t, text))
	n := c.nodes[0]
	found, _ := c.examine(n)
	if media := found[doctor.CheckMedia]; len(media) != 2 || doctor.Count(media, doctor.OK) != 2 || !strings.Contains(media[0].Text, "by the TURN server") {
		t.Errorf("media: %+v", media)
	}
	if turns := found[doctor.CheckTURN]; len(turns) != 3 || doctor.Count(turns, doctor.OK) != 3 {
		t.Errorf("%+v", turns)
	}

	var service struct{ Username, Password string }
	if err := apitest.Ask(t.Context(), http.MethodGet, n.HTTP+"/turn/credentials?service=turn&username=recorder&key="+url.QueryEscape(key), "", nil, &service); err != nil {
		t.Fatal(err)
	}
	token, err := apitest.LogIn(t.Context(), n.HTTP, c.user, c.password)
	if err != nil {
		t.Fatal(err)
	}
	var settings struct {
		TURNServers []struct {
			URLs                 []string
			Username, Credential string
		}
	}
	if err := apitest.Talk(t.Context(), http.MethodGet, n.HTTP, "/spreed/api/v3/signaling/settings", token, nil, &settings); err != nil {
		t.Fatal(err)
	}
	if len(settings.TURNServers) != 2 {
		t.Fatalf("%+v", settings)
	}
	client := settings.TURNServers[0]
	for who, login := range map[string]doctor.Login{"service": {Username: service.Username, Password: service.Password}, "client": {Username: client.Username, Password: client.Credential}} {
		offer := &doctor.TURN{URIs: client.URLs, Login: login}
		if list := offer.Look(t.Context(), nil); len(list) != 1 || list[0].Result != doctor.OK {
			t.Errorf("%s: %+v", who, list)
		}
	}
}

// TestDoctorTURNRefuses: the TURN server is well, but does not send to the address of a node.
func TestDoctorTURNRefuses(t *testing.T) {
	text := fmt.Sprintf("turn:\n  servers: [\"turn:127.0.0.1:%d\"]\n  secret: %s\nmedia:\n  advertise: [%s]\n", relayServer(t), turnSecret, denied)
	c := startCluster(t, 1, "--config", configured(t, text))
	found, failed := c.examine(c.nodes[0])
	media := found[doctor.CheckMedia]
	if doctor.Count(found[doctor.CheckTURN], doctor.OK) != 1 || !failed || len(media) == 0 || media[0].Result != doctor.Failed || !strings.Contains(media[0].Text, "does not bring media to "+denied.String()) {
		t.Errorf("%+v", found)
	}
}

// TestDoctorAddress: a node tells clients an address where nobody is. By UDP it finds them
// itself, as here nothing is between the two; by TCP nobody comes to it.
func TestDoctorAddress(t *testing.T) {
	c := startCluster(t, 1, "--config", configured(t, "media:\n  advertise: [127.0.0.99]\n"))
	found, _ := c.examine(c.nodes[0])
	media := found[doctor.CheckMedia]
	if len(media) != 2 || media[0].Result != doctor.Warning || !strings.Contains(media[0].Text, "not by TCP: no connection to 127.0.0.99") || media[1].Result != doctor.OK {
		t.Errorf("media: %+v", media)
	}
}
