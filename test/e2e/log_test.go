package e2e

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/talkd/talkd/api/apitest"
)

// stranger is the address of a client behind a reverse proxy, and that of the people's machine.
const (
	stranger      = "203.0.113.77"
	peopleAddress = "127.0.0.77"
)

// TestLogsTellNobody: a call over three nodes, wrong passwords, guessed tickets and broken messages, a home
// that dies, with every level of the log on. No name, address, password, token or text is in any log.
func TestLogsTellNobody(t *testing.T) {
	t.Setenv("TALKD_LOG_LEVEL", "debug")
	t.Setenv("TALKD_HTTP_TRUSTED_PROXIES", "127.0.0.0/8")
	cluster := startCluster(t, 3)
	c := newCall(t, peopleAddress, cluster.nodes)
	t.Cleanup(c.close)
	c.token = cluster.conversation(cluster.nodes[0], "Secret plans")
	login, err := apitest.LogIn(t.Context(), cluster.nodes[1].HTTP, cluster.user, cluster.password)
	if err != nil {
		t.Fatal(err)
	}
	account := map[string]any{"id": "newcomer", "displayname": "New Comer", "password": "end-to-end-newcomer"}
	if err := apitest.Ask(t.Context(), http.MethodPost, cluster.nodes[0].Admin+"/admin/v1/users", cluster.nodes[0].Token, account, nil); err != nil {
		t.Error(err)
	}
	for _, n := range cluster.nodes {
		c.enter(n)
		if _, err := apitest.LogIn(t.Context(), n.HTTP, "mallory", "guessed-password"); err == nil {
			t.Error("a wrong password is right")
		}
		knock(t, n, "/ocs/v2.php/apps/spreed/api/v4/room?token=guessed-token")
		for _, text := range []string{
			`{"id":"1","type":"hello","hello":{"version":"1.0","auth":{"type":"ticket","params":{"ticket":"guessed-ticket"}}}}`,
			`{"id":"1","type":"hello","hello":{"version":"1.0","auth":{"url":"https://elsewhere.example/","params":{"userid":"mallory","ticket":"guessed-ticket"}}}}`,
			`{"id":"1","type":"hello","hello":{"version":"2.0","auth":{"url":"https://elsewhere.example/","params":{"token":"guessed-token"}}}}`,
			`{"id":"1","type":"hello","hello":{"version":"1.0","resumeid":"guessed-session"}}`,
			`{"id":"1","type":"hello","hello":{"version":"1.0","auth":{"type":"internal","params":{"random":"mallory-mallory-mallory-mallory-mallory","token":"guessed-token"}}}}`,
			`{"type":"message","message":{"data":"mallory speaks"}} and more`,
		} {
			say(t, n, text)
		}
	}
	eventually(t, time.Minute, "everybody hears everybody", c.allHear)
	home := cluster.awaitHome(c.token)
	if err := syscall.Kill(home.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	c.goneFrom(home, time.Minute)
	eventually(t, time.Minute, "everybody hears everybody again", c.allHear)
	c.close()

	private := []string{"person [0-9]", "Secret plans", "new ?comer", "mallory", "guessed", `elsewhere\.example`, "candidate:", "v=0", cluster.password, login}
	for _, address := range []string{stranger, peopleAddress} {
		private = append(private, regexp.QuoteMeta(address))
	}
	for _, n := range cluster.nodes {
		private = append(private, regexp.QuoteMeta(n.Token))
	}
	tells := regexp.MustCompile("(?i)" + strings.Join(private, "|"))
	for _, n := range cluster.nodes {
		log, err := os.ReadFile(filepath.Join(cluster.dir, n.Node, "talkd.log"))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(log, []byte("level=DEBUG")) {
			t.Errorf("%s wrote nothing of the lowest level", n.Node)
		}
		for line := range bytes.Lines(log) {
			if what := tells.Find(line); what != nil {
				t.Errorf("the log of %s tells %q: %s", n.Node, what, line)
			}
		}
	}
}

// knock asks a node for a page, as a stranger behind a proxy.
func knock(t *testing.T, n node, path string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, n.HTTP+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Forwarded-For", stranger)
	req.Header.Set("Authorization", "Bearer guessed-token")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

// say sends one message as a stranger behind a proxy, and reads the answer.
func say(t *testing.T, n node, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	ws, resp, err := websocket.Dial(ctx, n.HTTP+"/spreed", &websocket.DialOptions{HTTPHeader: http.Header{"X-Forwarded-For": {stranger}}})
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body != nil {
		resp.Body.Close()
	}
	defer ws.CloseNow() //nolint:errcheck // closed is closed
	if err := ws.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the welcome, and the answer
		if _, _, err := ws.Read(ctx); err != nil {
			return // closed instead
		}
	}
}
