package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The secrets of the servers before are in the new file, which is its owner's, and nowhere else.
func TestConfigImport(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "server.conf"), filepath.Join(dir, "talkd.yaml")
	const old = "[http]\nlisten = 127.0.0.1:8080\n[backend]\nbackends = cloud\n[cloud]\nurl = https://cloud.example.org\nsecret = very-SECRET-one\n[nats]\nurl = nats://127.0.0.1\n"
	if err := os.WriteFile(from, []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, log := talkd(t, "config", "import", from)
	if code != exitDone || !strings.Contains(out, "secret_file: /etc/talkd/backend-1.secret") || !strings.Contains(log, "server.conf:9: [nats] url") || strings.Contains(out+log, "SECRET") {
		t.Errorf("printed: exit %d\n%s\n%s", code, out, log)
	}
	code, out, log = talkd(t, "config", "import", from, "--out", to, "--public-url", "https://talk.example.org")
	if code != exitDone || strings.Contains(out+log, "SECRET") {
		t.Fatalf("written: exit %d\n%s\n%s", code, out, log)
	}
	info, err := os.Stat(to)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	text, err := os.ReadFile(to)
	if err != nil || !strings.Contains(string(text), "secret: very-SECRET-one") {
		t.Errorf("%v: %s", err, text)
	}
	if code, _, log := talkd(t, "config", "check", to); code != exitDone {
		t.Errorf("check: exit %d: %s", code, log)
	}
	if code, _, log := talkd(t, "config", "import", from, "--out", to); code != exitFailed || !strings.Contains(log, "is there already") {
		t.Errorf("written over: exit %d: %s", code, log)
	}
	if again, err := os.ReadFile(to); err != nil || string(again) != string(text) {
		t.Errorf("written over: %v: %s", err, again)
	}
	if code, _, log := talkd(t, "config", "import", from, "--out", dir); code != exitFailed || !strings.Contains(log, "is a directory: --out "+to) {
		t.Errorf("into a directory: exit %d: %s", code, log)
	}
	if err := os.WriteFile(from, []byte(old+"no word\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, log := talkd(t, "config", "import", from); code != exitFailed || !strings.Contains(log, "server.conf:10: neither") {
		t.Errorf("exit %d: %s", code, log)
	}
}
