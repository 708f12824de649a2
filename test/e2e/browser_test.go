package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// browser starts one headless Chromium with a fake camera and microphone; each
// person gets a page in a browser context of its own.
func browser(t *testing.T) context.Context {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "google-chrome", "chromium-browser"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		t.Skip("no Chromium on this machine: make test as root installs it")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.UserDataDir(t.TempDir()),
		chromedp.NoSandbox,
		chromedp.Flag("headless", "new"),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true),
		chromedp.Flag("use-fake-device-for-media-stream", "fps=20"),
		chromedp.Flag("use-fake-ui-for-media-stream", true),
		chromedp.Flag("auto-select-desktop-capture-source", "Entire screen"),
		chromedp.Flag("autoplay-policy", "no-user-gesture-required"),
		// Pages that are not in front must go on drawing and counting.
		chromedp.Flag("disable-background-timer-throttling", true),
		chromedp.Flag("disable-renderer-backgrounding", true),
		chromedp.Flag("disable-backgrounding-occluded-windows", true),
		chromedp.WindowSize(1280, 800),
		chromedp.ModifyCmdFunc(politely),
	)
	allocator, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancelBrowser := chromedp.NewContext(allocator)
	t.Cleanup(cancelBrowser)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("Chromium does not start: %v", err)
	}
	return ctx
}

// politely starts the browser behind the nodes: it encodes and draws in
// software here, and in life the nodes do not share a machine with it. As root
// it would give itself a higher priority, so it loses the right to.
func politely(cmd *exec.Cmd) {
	for _, prefix := range [][]string{{"nice", "-n", "10"}, {"setpriv", "--inh-caps=-sys_nice", "--bounding-set=-sys_nice"}} {
		if path, err := exec.LookPath(prefix[0]); err == nil {
			cmd.Path, cmd.Args = path, append(prefix, cmd.Args...)
		}
	}
}

// collect keeps every connection a page makes, so that a test can read the
// browser's own statistics, its last socket, and who is told to come to or go
// from the room. Where the page's address wishes for a codec, so do its offers, and
// where it says relay, media have to go by a TURN server.
const collect = `(() => {
  const Real = window.RTCPeerConnection;
  const relay = new URLSearchParams(location.search).has('relay');
  window.testConnections = [];
  window.RTCPeerConnection = class extends Real {
    constructor(config, ...args) {
      super(relay ? {...config, iceTransportPolicy: 'relay'} : config, ...args);
      window.testConnections.push(this);
    }
  };
  const Socket = window.WebSocket;
  const videocodec = new URLSearchParams(location.search).get('videocodec');
  window.testEvents = [];
  window.WebSocket = class extends Socket {
    constructor(...args) {
      super(...args);
      window.testSocket = this;
      this.addEventListener('message', (e) => {
        const {type, event} = JSON.parse(e.data);
        if (type !== 'event' || event.target !== 'room') return;
        for (const j of event.join ?? []) window.testEvents.push('join ' + j.sessionid);
        for (const id of event.leave ?? []) window.testEvents.push('leave ' + id);
      });
    }
    send(text) {
      const m = videocodec && JSON.parse(text);
      if (m?.message?.data?.type !== 'offer') return super.send(text);
      m.message.data.videocodec = videocodec;
      super.send(JSON.stringify(m));
    }
  };
})();`

// inbound reads what each connection of the page receives.
const inbound = `(async () => {
  const out = [];
  for (const [connection, pc] of window.testConnections.entries()) {
    if (pc.connectionState === 'closed') continue;
    const report = await pc.getStats();
    let cipher = '';
    for (const s of report.values()) if (s.type === 'transport') cipher = s.srtpCipher || '';
    for (const s of report.values()) {
      if (s.type !== 'inbound-rtp') continue;
      out.push({connection, state: pc.connectionState, kind: s.kind, codec: report.get(s.codecId)?.mimeType || '', frames: s.framesDecoded || 0, width: s.frameWidth || 0,
        packets: s.packetsReceived || 0, lost: s.packetsLost || 0, energy: s.totalAudioEnergy || 0, cipher});
    }
  }
  return out;
})()`

// stream is one received track.
type stream struct {
	Connection int
	State      string
	Kind       string
	Codec      string
	Frames     int
	Width      int
	Packets    int
	Lost       int
	Energy     float64
	Cipher     string
}

// person is a page of somebody.
type person struct {
	t    *testing.T
	ctx  context.Context
	name string
}

func (p *person) String() string { return p.name }

// viewer is a page of somebody in any browser.
type viewer interface {
	fmt.Stringer
	inbound() []stream
}

// open shows a URL in a new browser context.
func open(t *testing.T, browser context.Context, name, url string) *person {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	p := &person{t: t, ctx: ctx, name: name}
	t.Cleanup(func() {
		if t.Failed() {
			p.screenshot("failed-" + name)
		}
	})
	if err := chromedp.Do(ctx); err != nil { // opens the tab, which lives as long as ctx
		t.Fatalf("%s: no tab: %v", name, err)
	}
	err := chromedp.Listen(ctx, func(ev any) {
		switch ev := ev.(type) {
		case *runtime.EventExceptionThrown:
			text, _ := json.Marshal(ev.ExceptionDetails)
			t.Logf("%s: exception: %.600s", name, text)
		case *runtime.EventConsoleAPICalled:
			if ev.Type == "error" || ev.Type == "warning" {
				text, _ := json.Marshal(ev.Args)
				t.Logf("%s: console %s: %.400s", name, ev.Type, text)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	p.run(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: collect + marks})
		return err
	}), chromedp.Navigate(url))
	return p
}

func (p *person) run(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, 30*time.Second)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		p.t.Fatalf("%s: %v", p.name, err)
	}
}

// eval evaluates an expression, and awaits it if it is a promise.
func eval[T any](p *person, expression string) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, 30*time.Second)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		p.t.Fatalf("%s: %v", p.name, err)
	}
	return v
}

func testID(id string) string { return fmt.Sprintf(`[data-testid=%q]`, id) }

func (p *person) click(id string) {
	p.t.Helper()
	p.run(chromedp.Click(chromedp.CSS(testID(id)), chromedp.NodeVisible))
}

// attribute reads an attribute of the first element that matches, "" if none does.
func (p *person) attribute(selector, name string) string {
	p.t.Helper()
	return eval[string](p, fmt.Sprintf(`(document.querySelector(%q)?.getAttribute(%q)) ?? ''`, selector, name))
}

func (p *person) inbound() []stream {
	p.t.Helper()
	return eval[[]stream](p, inbound)
}

// screenshot keeps a picture where E2E_SCREENSHOTS says.
func (p *person) screenshot(name string) {
	dir := os.Getenv("E2E_SCREENSHOTS")
	if dir == "" {
		return
	}
	ctx, cancel := context.WithTimeout(p.ctx, 10*time.Second)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		p.t.Logf("%s: no screenshot: %v", p.name, err)
		return
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o600); err != nil {
		p.t.Log(err)
	}
}
