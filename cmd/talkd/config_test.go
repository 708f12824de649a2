package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
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
	if code, _, log := talkd(t, "config", "import", from, "--out", dir); code != exitFailed || !strings.Contains(log, "is a directory; name a new file in it: --out "+to) {
		t.Errorf("into a directory: exit %d: %s", code, log)
	}
	if err := os.WriteFile(from, []byte(old+"no word\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, log := talkd(t, "config", "import", from); code != exitFailed || !strings.Contains(log, "server.conf:10: neither") {
		t.Errorf("exit %d: %s", code, log)
	}
}

// TestWrongFiles: whatever an operator names by mistake, one line says what to do.
func TestWrongFiles(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{
		"empty": "", "comments": "# nothing\n", "binary": "\x7fELF\x02\x01\x00\xff\xfe", "text": "Dear all,\n", "server.conf": "[http]\nlisten = 127.0.0.1:8080\n",
		"large": strings.Repeat("#", 2<<20), "numbers.yaml": "signaling:\n  max_sessions: many\n  hello_timeout: soon\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir("directory", 0o700); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args string
		code int
		says []string
	}{
		{"import empty", exitFailed, []string{"empty: nothing is set in it", "server.conf"}},
		{"import comments", exitFailed, []string{"nothing is set in it"}},
		{"import binary", exitFailed, []string{"binary:1: not UTF-8", "server.conf"}},
		{"import text", exitFailed, []string{"text:1: neither", "server.conf"}},
		{"import large", exitFailed, []string{"larger than", "server.conf"}},
		{"import directory", exitFailed, []string{"is a directory; name a file in it"}},
		{"import nowhere.conf", exitFailed, []string{"nowhere.conf", "is the path right?"}},
		{"import", exitUsage, []string{"FILE... is missing", "--help"}},
		{"import server.conf --public-url talk.example.org", exitUsage, []string{"--public-url", "http(s)://host"}},
		{"import server.conf --out directory", exitFailed, []string{"directory is a directory; name a new file in it"}},
		{"import server.conf --out server.conf", exitFailed, []string{"is there already"}},
		{"import server.conf --out no/where.yaml", exitFailed, []string{"no/where.yaml", "is the path right?"}},
		{"check binary", exitFailed, []string{"binary: ", "not YAML"}},
		{"check text", exitFailed, []string{"text: ", "no key of talkd", "talkd config import"}},
		{"check server.conf", exitFailed, []string{"no key of talkd", "talkd config import"}},
		{"check numbers.yaml", exitFailed, []string{"line 2", "line 3"}},
		{"check large", exitFailed, []string{"larger than"}},
		{"check directory", exitFailed, []string{"is a directory; name a file in it"}},
		{"check nowhere.yaml", exitFailed, []string{"nowhere.yaml", "is the path right?"}},
		{"check text empty", exitUsage, []string{`"empty" is too much: talkd config check FILE`}},
	} {
		code, out, log := talkd(t, append([]string{"config"}, strings.Fields(tt.args)...)...)
		if code != tt.code || out != "" || strings.Count(log, "\n") != 1 {
			t.Errorf("%s: exit %d: %q %q", tt.args, code, out, log)
		}
		for _, words := range tt.says {
			if !strings.Contains(log, words) {
				t.Errorf("%s: not a word of %q in %s", tt.args, words, log)
			}
		}
	}
	if code, out, _ := talkd(t, "config", "check", "empty"); code != exitDone || !strings.Contains(out, "nothing is in it") {
		t.Errorf("an empty one: exit %d: %s", code, out)
	}
	// Tests may run as root, whom nothing is denied.
	denied := fmt.Errorf("secrets: %w", &fs.PathError{Op: "open", Path: "server.conf", Err: syscall.EACCES})
	if got := wayOut(denied); !strings.Contains(got, "as root, or as the owner of server.conf") {
		t.Errorf("denied: %q", got)
	}
	if got := wayOut(syscall.EACCES); got != "" {
		t.Errorf("no file: %q", got)
	}
}
