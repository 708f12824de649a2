package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/talkd/talkd/api"
	"github.com/talkd/talkd/doctor"
)

// TestDoctor has the tables and the exit codes; package doctor has what is looked at.
func TestDoctor(t *testing.T) {
	page := httptest.NewServer(http.RedirectHandler("https://new.example/", http.StatusFound))
	defer page.Close()
	f := threeNodes()
	for i := range f.cluster.Nodes {
		f.cluster.Nodes[i].Roles = []string{"server"} // nobody comes to them
	}
	secret := doctor.Finding{Check: "secret", About: "https://cloud.example", Result: "failed", Text: "another\x1b one", Do: "enter it"}
	for _, node := range []string{"n1", "n2"} {
		secret.From = node
		f.examined = append(f.examined, secret)
	}
	serveAdmin(t, f)

	code, out, log := talkd(t, "doctor", "--media=false", "--url", page.URL)
	for _, want := range []string{
		"cluster\n", "n3 is dead", page.URL + "\n", "FAILED   welcome", "https://new.example", "https://cloud.example\n",
		"  FAILED   secret       another one (seen from n1, n2)\n                        -> enter it\n", "note     turn", "\n2 failed, ",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("not a word of %q in\n%s", want, out)
		}
	}
	if code != exitFailed || !strings.Contains(log, "see above") {
		t.Errorf("exit %d, %s", code, log)
	}

	code, out, _ = talkd(t, "doctor", "--json", "--media=false", "--url", page.URL)
	var v struct {
		Findings         []doctor.Finding
		Failed, Warnings int
	}
	if err := json.Unmarshal([]byte(out), &v); err != nil || code != exitFailed || v.Failed != 3 || v.Findings[len(v.Findings)-2].From != "n2" {
		t.Errorf("exit %d, %v: %s", code, err, out)
	}

	f.examined = nil
	f.cluster = api.ClusterView{Leader: "n1", Quorum: true, Voters: 1, VotersAlive: 1, Nodes: f.cluster.Nodes[:1]}
	if code, out, log := talkd(t, "doctor"); code != exitDone || !strings.Contains(out, "none is served") || !strings.Contains(out, "1 node") {
		t.Errorf("well: exit %d: %s%s", code, out, log)
	}

	// Without a node the addresses that were given are looked at.
	t.Setenv("TALKD_ADMIN", "http://127.0.0.1:1")
	if code, out, _ := talkd(t, "doctor", "--url", page.URL); code != exitFailed || !strings.Contains(out, "no node answers") || !strings.Contains(out, "welcome") {
		t.Errorf("no node: exit %d: %s", code, out)
	}
	if code, _, log := talkd(t, "doctor"); code != exitFailed || !strings.Contains(log, "no node answers") {
		t.Errorf("no node, no URL: exit %d: %s", code, log)
	}
	empty := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, log := talkd(t, "doctor", "--ca", empty); code != exitUsage || !strings.Contains(log, "no certificate in it") {
		t.Errorf("empty CA: exit %d: %s", code, log)
	}
}

// TestNextcloudPage checks the configuration that docs/nextcloud.md has, as its readers do.
func TestNextcloudPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/nextcloud.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(page), "```yaml\n")
	example, _, found := strings.Cut(example, "```")
	dir := t.TempDir()
	secret, file := filepath.Join(dir, "cloud.secret"), filepath.Join(dir, "talkd.yaml")
	for name, text := range map[string]string{
		secret: strings.Repeat("0123456789abcdef", 4),
		file:   strings.ReplaceAll(strings.ReplaceAll(example, "\n   ", "\n"), "/etc/talkd/cloud.secret", secret)[len("   "):],
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if code, _, log := talkd(t, "config", "check", file); !found || code != exitDone {
		t.Errorf("exit %d: %s", code, log)
	}
}
