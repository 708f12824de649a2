package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
)

// firefoxPrefs give Firefox a fake camera and microphone without asking, and let
// it reach a node on the same machine: it uses the addresses of all interfaces
// only where camera or microphone are permitted.
const firefoxPrefs = `
user_pref("media.navigator.streams.fake", true);
user_pref("media.navigator.permission.disabled", true);
user_pref("permissions.default.camera", 1);
user_pref("permissions.default.microphone", 1);
user_pref("media.peerconnection.ice.loopback", true);
user_pref("media.peerconnection.ice.obfuscate_host_addresses", false);
user_pref("media.autoplay.default", 0);
user_pref("media.autoplay.blocking_policy", 0);
`

// fox is a page of a headless Firefox. It is driven by WebDriver BiDi: JSON over
// a WebSocket.
type fox struct {
	t       *testing.T
	name    string
	socket  *websocket.Conn
	context string // of the browser: the tab

	mu      sync.Mutex
	last    int                        // guarded by mu; number of a command
	waiting map[int]chan<- bidiMessage // guarded by mu
}

// bidiMessage is what Firefox says: the answer to a command, or an event.
type bidiMessage struct {
	ID      int             `json:"id"`
	Type    string          `json:"type"`
	Method  string          `json:"method"`
	Result  json.RawMessage `json:"result"`
	Params  json.RawMessage `json:"params"`
	Error   string          `json:"error"`
	Message string          `json:"message"`
}

// openFox shows a URL in a Firefox of its own, after the scripts have run.
func openFox(t *testing.T, name, url string, scripts ...string) *fox {
	t.Helper()
	f := &fox{t: t, name: name, waiting: map[int]chan<- bidiMessage{}}
	driver := startFirefox(t) + "/session"
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	//nolint:bodyclose // the library closes the body of the answer itself
	socket, _, err := websocket.Dial(ctx, driver, nil)
	if err != nil {
		t.Fatal(err)
	}
	socket.SetReadLimit(-1)
	f.socket = socket
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.listen()
	}()
	t.Cleanup(func() {
		_ = socket.CloseNow()
		<-done
	})
	f.call("session.new", map[string]any{"capabilities": map[string]any{}}, nil)
	f.call("session.subscribe", map[string]any{"events": []string{"log.entryAdded"}}, nil)
	var tree struct {
		Contexts []struct{ Context string }
	}
	f.call("browsingContext.getTree", map[string]any{}, &tree)
	f.context = tree.Contexts[0].Context
	for _, s := range scripts {
		f.call("script.addPreloadScript", map[string]any{"functionDeclaration": "() => {" + s + "}"}, nil)
	}
	f.call("browsingContext.navigate", map[string]any{"context": f.context, "url": url, "wait": "complete"}, nil)
	return f
}

// startFirefox runs it until the test ends, and returns the URL by which it is
// driven.
func startFirefox(t *testing.T) (url string) {
	t.Helper()
	path, err := exec.LookPath("firefox")
	if err != nil {
		t.Skip("no Firefox on this machine: make firefox as root installs it")
	}
	profile := t.TempDir()
	if err := os.WriteFile(filepath.Join(profile, "user.js"), []byte(firefoxPrefs), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(context.Background(), path, "--headless", "--no-remote", "--profile", profile, "--remote-debugging-port", "0", "about:blank")
	cmd.Env = append(os.Environ(), "HOME="+profile)
	politely(cmd)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := make(chan string, 1)
	read := make(chan struct{})
	go func() { // also what comes after, or the pipe would fill
		defer close(read)
		for s := bufio.NewScanner(stderr); s.Scan(); {
			if _, url, ok := strings.Cut(s.Text(), "WebDriver BiDi listening on "); ok {
				said <- url
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		<-read
		_ = cmd.Wait()
	})
	select {
	case url = <-said:
	case <-read:
		t.Fatal("Firefox ended")
	case <-time.After(60 * time.Second):
		t.Fatal("Firefox does not start")
	}
	return url
}

// listen takes what Firefox says until the socket is closed.
func (f *fox) listen() {
	for {
		var m bidiMessage
		if err := wsjson.Read(context.Background(), f.socket, &m); err != nil {
			return
		}
		if m.Method == "log.entryAdded" {
			var entry struct{ Level, Text string }
			if json.Unmarshal(m.Params, &entry) == nil && (entry.Level == "error" || entry.Level == "warn") {
				f.t.Logf("%s: console %s: %.400s", f.name, entry.Level, entry.Text)
			}
			continue
		}
		f.mu.Lock()
		answer := f.waiting[m.ID]
		delete(f.waiting, m.ID)
		f.mu.Unlock()
		if answer != nil {
			answer <- m
		}
	}
}

// call has Firefox execute a command.
func (f *fox) call(method string, params, result any) {
	f.t.Helper()
	if err := f.try(method, params, result); err != nil {
		f.t.Fatalf("%s: %s: %v", f.name, method, err)
	}
}

func (f *fox) try(method string, params, result any) error {
	ctx, cancel := context.WithTimeout(f.t.Context(), 30*time.Second)
	defer cancel()
	answer := make(chan bidiMessage, 1)
	f.mu.Lock()
	f.last++
	id := f.last
	f.waiting[id] = answer
	f.mu.Unlock()
	if err := wsjson.Write(ctx, f.socket, map[string]any{"id": id, "method": method, "params": params}); err != nil {
		return err
	}
	select {
	case m := <-answer:
		if m.Error != "" {
			return fmt.Errorf("%s: %s", m.Error, m.Message)
		}
		if result == nil {
			return nil
		}
		return json.Unmarshal(m.Result, result)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// eval evaluates an expression, and awaits it if it is a promise.
func (f *fox) eval(expression string, into any) {
	f.t.Helper()
	var answer struct {
		Type             string
		Result           struct{ Value string }
		ExceptionDetails struct{ Text string }
	}
	// As JSON: BiDi has a notation of its own for values.
	f.call("script.evaluate", map[string]any{
		"expression":   "(async () => JSON.stringify((await (" + expression + ")) ?? null))()",
		"target":       map[string]any{"context": f.context},
		"awaitPromise": true,
	}, &answer)
	err := errors.New(answer.ExceptionDetails.Text)
	if answer.Type == "success" {
		err = json.Unmarshal([]byte(answer.Result.Value), into)
	}
	if err != nil {
		f.t.Fatalf("%s: %s: %v", f.name, expression, err)
	}
}

// press clicks what has a test id, as soon as it can be.
func (f *fox) press(id string) {
	f.t.Helper()
	f.do(id, "e.click()")
}

// do does something with the element e that has a test id, as soon as it is there
// and not disabled.
func (f *fox) do(id, what string) {
	f.t.Helper()
	eventually(f.t, 20*time.Second, f.name+" finds "+id, func() (done bool, _ string) {
		f.eval(fmt.Sprintf(`(() => {
		  const e = document.querySelector(%q);
		  if (!e || e.disabled) return false;
		  %s;
		  return true;
		})()`, testID(id), what), &done)
		return done, "it is not there, or disabled"
	})
}

func (f *fox) inbound() (all []stream) {
	f.t.Helper()
	f.eval(inbound, &all)
	return all
}

func (f *fox) String() string { return f.name }

// joinAsGuest is that of Chromium's pages, in Firefox.
func (f *fox) joinAsGuest() {
	f.t.Helper()
	f.do("guest-name", fmt.Sprintf("e.value = %q; e.dispatchEvent(new Event('input', {bubbles: true}))", f.name))
	f.press("green-cam")
	f.press("btn-join")
}
