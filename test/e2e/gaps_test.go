package e2e

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// watchGaps begins to note, for each tile of the page, when its picture or its
// sound stands still. It looks at what is shown, whatever connection that comes
// from: the stream of a tile stays the same while its tracks change.
//
//   - picture: the times at which frames are presented (requestVideoFrameCallback);
//   - sound: of what plays unmuted, when something last came out of it, and the
//     samples that had to be made up (concealedSamples).
const watchGaps = `(() => {
  const NOTABLE = 250; // ms: what is noted with its place in time
  const notes = new Map();
  const wall = (t) => Math.round(performance.timeOrigin + t);
  const medium = () => ({last: 0, count: 0, worst: 0, gaps: []});
  const came = (m, now) => {
    if (m.last && now - m.last > m.worst) m.worst = now - m.last;
    if (m.last && now - m.last > NOTABLE) m.gaps.push({from: wall(m.last), to: wall(now)});
    m.last = now;
    m.count++;
  };
  const note = (tile) => {
    let n = notes.get(tile.dataset.session);
    if (!n) {
      n = {name: tile.dataset.name, video: medium(), audio: medium(), concealed: 0, samples: 0};
      notes.set(tile.dataset.session, n);
    }
    n.name = tile.dataset.name;
    const video = tile.querySelector('video');
    if (video && !video.watched) {
      video.watched = true;
      const frame = (now) => {
        came(n.video, now);
        video.requestVideoFrameCallback(frame);
      };
      video.requestVideoFrameCallback(frame);
    }
    return n;
  };
  // What each receiver has told so far, also of those that are not heard yet.
  const known = new WeakMap();
  let busy = false;
  const look = async () => {
    const tiles = [...document.querySelectorAll('[data-testid="tile"]')].map((t) => [note(t), t.querySelectorAll('audio')]);
    const now = performance.now();
    const heard = new Map();
    for (const [n, voices] of tiles) for (const v of voices) if (!v.muted) for (const t of v.srcObject?.getAudioTracks() ?? []) heard.set(t, n);
    const receivers = window.testConnections.filter((pc) => pc.connectionState !== 'closed').flatMap((pc) => pc.getReceivers()).filter((r) => r.track.kind === 'audio');
    for (const r of receivers) {
      const mark = Math.max(0, ...r.getSynchronizationSources().map((s) => s.timestamp));
      const k = known.get(r) ?? {mark: 0, concealed: 0, samples: 0, heard: null};
      known.set(r, k);
      const n = heard.get(r.track);
      if (n && mark > k.mark) came(n.audio, now);
      k.mark = mark;
    }
    if (busy) return;
    busy = true;
    for (const r of receivers) {
      const k = known.get(r), n = heard.get(r.track);
      for (const s of (await r.getStats()).values()) {
        if (s.type !== 'inbound-rtp') continue;
        // Heard before or after: what happened between belongs to the tile.
        const whose = n ?? k.heard;
        if (whose) {
          whose.concealed += (s.concealedSamples ?? 0) - k.concealed;
          whose.samples += (s.totalSamplesReceived ?? 0) - k.samples;
        }
        Object.assign(k, {concealed: s.concealedSamples ?? 0, samples: s.totalSamplesReceived ?? 0, heard: n ?? null});
      }
    }
    busy = false;
  };
  setInterval(() => void look(), 50);
  window.testGaps = {
    reset: () => {
      const now = performance.now();
      for (const n of notes.values()) {
        for (const m of [n.video, n.audio]) Object.assign(m, {last: now, count: 0, worst: 0, gaps: []});
        n.concealed = n.samples = 0;
      }
    },
    read: () => {
      const now = performance.now();
      const tell = (m) => ({count: m.count, worst: Math.round(Math.max(m.worst, m.last ? now - m.last : 0)),
        gaps: m.last && now - m.last > NOTABLE ? [...m.gaps, {from: wall(m.last), to: 0}] : m.gaps});
      const shown = [...document.querySelectorAll('[data-testid="tile"]')].flatMap((t) => notes.get(t.dataset.session) ?? []);
      return shown.map((n) => ({name: n.name, video: tell(n.video), audio: tell(n.audio), concealedms: Math.round(n.concealed / 48), ms: Math.round(n.samples / 48)}));
    },
  };
})()`

// gap is a time in which nothing came; To is 0 while it lasts.
type gap struct{ From, To int64 }

// still tells how long at most a medium stood still.
type still struct {
	Count int
	Worst int // ms
	Gaps  []gap
}

// tileGaps is what one person sees and hears of another.
type tileGaps struct {
	Name         string
	Video, Audio still
	ConcealedMS  int
	MS           int // of sound in all
}

func (g tileGaps) String() string {
	return fmt.Sprintf("%s: picture still for %d ms at most (%d frames), %d ms of %d ms of sound made up", g.Name, g.Video.Worst, g.Video.Count, g.ConcealedMS, g.MS)
}

// watchGaps begins to watch, once for each page.
func (p *person) watchGaps() {
	p.t.Helper()
	eval[any](p, watchGaps)
}

// resetGaps forgets what was.
func (p *person) resetGaps() {
	p.t.Helper()
	eval[any](p, `window.testGaps.reset()`)
}

// gaps tells of those whom the page shows.
func (p *person) gaps() []tileGaps {
	p.t.Helper()
	return eval[[]tileGaps](p, `window.testGaps.read()`)
}

// still tells that somebody stands still just now.
func (g tileGaps) still() bool {
	lasts := func(g gap) bool { return g.To == 0 }
	return slices.ContainsFunc(g.Video.Gaps, lasts) || slices.ContainsFunc(g.Audio.Gaps, lasts)
}

// inPipes is how long after its sender is gone something of a medium may still be
// shown: what had come by then.
const inPipes = time.Second

// backAfter tells how long after a time a medium came again that stood still
// from about then on; 0: it did not stand still, or never came again.
func (s still) backAfter(at time.Time) time.Duration {
	var longest, back time.Duration
	for _, g := range s.Gaps {
		from, to := time.UnixMilli(g.From), time.UnixMilli(g.To)
		if from.Before(at.Add(inPipes)) && to.After(at) && to.Sub(from) > longest {
			longest, back = to.Sub(from), to.Sub(at)
		}
	}
	return back
}

// spread is the middle and the worst of some times.
func spread(times []time.Duration) string {
	if len(times) == 0 {
		return "none"
	}
	slices.Sort(times)
	var all []string
	for _, d := range times {
		all = append(all, d.Round(10*time.Millisecond).String())
	}
	return fmt.Sprintf("median %v, worst %v (%s)", times[len(times)/2].Round(10*time.Millisecond), times[len(times)-1].Round(10*time.Millisecond), strings.Join(all, ", "))
}

// session is the person's own one, as the page has it.
func (p *person) session() string { return p.attribute(testID("self-tile"), "data-session") }

// events are the comings and goings that the page was told since forgetEvents.
func (p *person) events() []string {
	p.t.Helper()
	return eval[[]string](p, `window.testEvents`)
}

func (p *person) forgetEvents() {
	p.t.Helper()
	eval[any](p, `(() => { window.testEvents = []; })()`)
}
