package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// joinAsGuest opens a conversation's page as a guest and enters the call with
// camera and microphone.
func joinAsGuest(t *testing.T, b context.Context, name, url string) *person {
	t.Helper()
	p := open(t, b, name, url)
	p.run(
		chromedp.WaitVisible(chromedp.CSS(testID("guest-name"))),
		chromedp.SendKeys(chromedp.CSS(testID("guest-name")), name),
	)
	// Video is off until somebody wants it.
	p.click("green-cam")
	eventually(t, 15*time.Second, name+" can join", func() (bool, string) {
		disabled := eval[bool](p, `document.querySelector('[data-testid="btn-join"]')?.disabled ?? true`)
		return !disabled, "the button is disabled"
	})
	p.click("btn-join")
	return p
}

// threeNames are those of the people at the three nodes, in their order.
var threeNames = [3]string{"Ada", "Ben", "Cleo"}

// oneAtEach brings somebody to each of three nodes, to stay there, into a call in
// which everybody sees and hears the others.
func oneAtEach(t *testing.T, b context.Context, c *cluster, token string) map[string]*person {
	t.Helper()
	people := map[string]*person{}
	for i, name := range threeNames {
		people[name] = joinAsGuest(t, b, name, c.nodes[i].HTTP+"/call/"+token+"?redirect=0")
	}
	for _, name := range threeNames {
		awaitStreams(t, people[name], 2)
	}
	return people
}

// tile selects the tile of somebody else.
func tile(name string) string { return fmt.Sprintf(`[data-testid="tile"][data-name=%q]`, name) }

// receiving tells which tracks of a kind arrive at somebody, by connection.
func receiving(p *person, kind string) map[int]stream {
	out := map[int]stream{}
	for _, s := range p.inbound() {
		if s.Kind == kind && s.Packets > 0 {
			out[s.Connection] = s
		}
	}
	return out
}

// awaitStreams waits until somebody decodes n others and hears them.
func awaitStreams(t *testing.T, p viewer, n int) {
	t.Helper()
	eventually(t, 30*time.Second, fmt.Sprintf("%s sees and hears %d others", p, n), func() (bool, string) {
		seen, heard := 0, 0
		streams := p.inbound()
		for _, s := range streams {
			if s.Kind == "video" && s.Frames > 0 {
				seen++
			}
			if s.Kind == "audio" && s.Energy > 0 {
				heard++
			}
		}
		return seen >= n && heard >= n, fmt.Sprintf("%+v", streams)
	})
}

// servedBy reads the line that says which node serves somebody, and the home.
func servedBy(p *person) (serving, home string) {
	return p.attribute(testID("node-line"), "data-serving"), p.attribute(testID("node-line"), "data-home")
}

// TestOneRoomThreeNodes is the main job: three people on three nodes see and
// hear each other; then the home of their room is killed.
func TestOneRoomThreeNodes(t *testing.T) {
	b := browser(t)
	c := startCluster(t, 3)
	token := c.conversation(c.nodes[0], "Three nodes")
	people := oneAtEach(t, b, c, token)
	for i, name := range threeNames {
		serving, home := servedBy(people[name])
		if serving != c.nodes[i].Node || home == "" {
			t.Errorf("%s is served by %q with home %q, want %q", name, serving, home, c.nodes[i].Node)
		}
	}

	t.Run("15 frames a second for 20 s", func(t *testing.T) {
		const window = 20 * time.Second
		before := map[string]map[int]stream{}
		heard := map[string]map[int]stream{}
		start := time.Now()
		for name, p := range people {
			before[name], heard[name] = receiving(p, "video"), receiving(p, "audio")
		}
		talkFor(t, window)
		seconds := time.Since(start).Seconds()
		for name, p := range people {
			video, audio := receiving(p, "video"), receiving(p, "audio")
			if len(video) != 2 || len(audio) != 2 {
				t.Errorf("%s receives %d videos and %d voices, want 2 each", name, len(video), len(audio))
			}
			for conn, s := range video {
				fps := float64(s.Frames-before[name][conn].Frames) / seconds
				t.Logf("%s: connection %d: %.1f frames/s, %d px wide, %d lost, %s", name, conn, fps, s.Width, s.Lost, s.Cipher)
				if fps < 15 {
					t.Errorf("%s decodes %.1f frames/s on connection %d, want 15", name, fps, conn)
				}
				if s.Cipher != "SRTP_AEAD_AES_256_GCM" {
					t.Errorf("%s: cipher %q, want SRTP_AEAD_AES_256_GCM", name, s.Cipher)
				}
			}
			for conn, s := range audio {
				if s.Energy <= heard[name][conn].Energy {
					t.Errorf("%s hears nothing on connection %d", name, conn)
				}
			}
		}
		var r room
		c.admin(c.nodes[0], "/admin/v1/rooms/"+token, &r)
		t.Log(r)
		// Audio and video of each publisher cross to each other node once.
		if len(r.Relays) != 6 {
			t.Errorf("%d relays, want 6 (each ordered pair of nodes): %s", len(r.Relays), r)
		}
		for _, l := range r.Relays {
			if l.Tracks != 2 {
				t.Errorf("relay %s to %s carries %d tracks, want 2", l.From, l.To, l.Tracks)
			}
		}
	})

	for name, p := range people {
		p.screenshot("call-" + name)
	}

	t.Run("mute is seen by the others", func(t *testing.T) {
		for _, want := range []string{"off", "on"} {
			people["Ada"].click("btn-mic")
			for _, name := range []string{"Ben", "Cleo"} {
				eventually(t, 5*time.Second, name+" sees Ada's microphone "+want, func() (bool, string) {
					got := people[name].attribute(tile("Ada"), "data-audio")
					return got == want, got
				})
			}
		}
	})

	t.Run("a screen is seen everywhere, also by somebody who comes later", func(t *testing.T) {
		people["Ben"].click("btn-screen")
		for _, name := range []string{"Ada", "Cleo"} {
			eventually(t, 15*time.Second, name+" sees Ben's screen", func() (bool, string) { return screenShown(people[name]) })
		}
		late := joinAsGuest(t, b, "Dora", c.nodes[2].HTTP+"/call/"+token+"?redirect=0")
		eventually(t, 20*time.Second, "Dora sees Ben's screen", func() (bool, string) { return screenShown(late) })
		awaitStreams(t, late, 3)
		late.screenshot("call-screen-Dora")
		late.click("btn-leave")
		people["Ben"].click("btn-screen")
		for _, name := range []string{"Ada", "Cleo"} {
			eventually(t, 10*time.Second, "the screen is gone at "+name, func() (bool, string) {
				n := eval[int](people[name], `document.querySelectorAll('[data-testid="screen-tile"]').length`)
				return n == 0, fmt.Sprint(n, " screens")
			})
		}
	})

	t.Run("the home is killed", func(t *testing.T) { loseHome(t, c, token, people, syscall.SIGKILL) })
}

// screenShown tells whether a shared screen moves at somebody.
func screenShown(p *person) (bool, string) {
	state := eval[string](p, `(() => {
	  const v = document.querySelector('[data-testid="screen-tile"] video');
	  return v ? v.videoWidth + 'x' + v.videoHeight + ' ready ' + v.readyState : 'no screen';
	})()`)
	return strings.HasSuffix(state, "ready 4") && !strings.HasPrefix(state, "0x"), state
}

// loseHome kills or stops the process of the room's home: those on other nodes
// go on over the same connections and hear of nothing; the third is back with
// the same session through another node.
func loseHome(t *testing.T, c *cluster, token string, people map[string]*person, signal syscall.Signal) {
	var r room
	c.admin(c.nodes[0], "/admin/v1/rooms/"+token, &r)
	home := c.node(r.Home)
	var lost *person
	var stay []*person
	for _, p := range people {
		if serving, _ := servedBy(p); serving == home.Node {
			lost = p
		} else {
			stay = append(stay, p)
		}
	}
	if lost == nil || len(stay) != 2 {
		t.Fatalf("nobody is at the home %q", home.Node)
	}
	session := lost.session()
	// The connection over which each of the two receives the other moves on;
	// which one that is shows after the kill.
	before := map[*person]map[int]stream{}
	for _, p := range stay {
		before[p] = receiving(p, "video")
	}
	all := append(stay, lost)
	for _, p := range all {
		p.watchGaps()
		p.forgetEvents()
	}
	talkFor(t, 2*time.Second) // the watch has seen everybody
	for _, p := range all {
		p.resetGaps()
	}
	t.Cleanup(func() { _ = syscall.Kill(home.PID, syscall.SIGCONT) }) // one that is stopped does not end
	if err := syscall.Kill(home.PID, signal); err != nil {
		t.Fatal(err)
	}
	lostAt := time.Now()
	talkFor(t, 3*time.Second) // long enough that frames in flight cannot be all that is counted
	for _, p := range stay {
		alive := 0
		for conn, s := range receiving(p, "video") {
			if old, ok := before[p][conn]; ok && s.State == "connected" && s.Frames-old.Frames >= 30 {
				alive++
			}
		}
		if alive < 1 {
			t.Errorf("%s no longer sees the one on the other node over the same connection: before %+v, now %+v", p.name, before[p], receiving(p, "video"))
		}
	}
	eventually(t, 40*time.Second, lost.name+" is back through another node", func() (bool, string) {
		serving, home2 := servedBy(lost)
		return serving != "" && serving != home.Node && home2 != home.Node, "served by " + serving + ", home " + home2
	})
	var pictures, sounds []time.Duration
	for _, p := range all {
		eventually(t, 40*time.Second, p.name+" sees and hears both others again", func() (bool, string) {
			seen := p.gaps()
			return len(seen) == 2 && !slices.ContainsFunc(seen, tileGaps.still), fmt.Sprint(seen)
		})
		for _, g := range p.gaps() {
			t.Logf("%s sees %v", p.name, g)
			if p == lost || g.Name == lost.name {
				pictures = append(pictures, g.Video.backAfter(lostAt))
				sounds = append(sounds, g.Audio.backAfter(lostAt))
			}
		}
	}
	t.Logf("what %s's page did:\n%s", lost.name, lost.marksFrom(lostAt))
	t.Logf("from %v until the picture is back: %s", signal, spread(pictures))
	t.Logf("from %v until the sound is back: %s", signal, spread(sounds))
	if now := lost.session(); now != session {
		t.Errorf("%s has another session, %s instead of %s", lost.name, now, session)
	}
	for _, p := range stay {
		if events := p.events(); len(events) > 0 {
			t.Errorf("%s was told %v", p.name, events)
		}
	}
	lost.screenshot("call-after-" + signal.String())
}

// TestHomeHangs stops the process of a home without ending it: its sockets stay
// open, and its client has to notice by itself.
func TestHomeHangs(t *testing.T) {
	b := browser(t)
	c := startCluster(t, 3)
	token := c.conversation(c.nodes[0], "Hung")
	loseHome(t, c, token, oneAtEach(t, b, c, token), syscall.SIGSTOP)
}

// TestDrainMovesPeople stops the home of a room while three people talk: the
// two who are there go to another node, and see and hear no gap.
func TestDrainMovesPeople(t *testing.T) {
	b := browser(t)
	c := startCluster(t, 3)
	token := c.conversation(c.nodes[0], "Drain")
	join := func(name string, n node) *person {
		return joinAsGuest(t, b, name, n.HTTP+"/call/"+token+"?redirect=0")
	}
	// Where load is not the same everywhere the home is another node than that of
	// the first: wherever it is, two are there and one is not.
	ada := join("Ada", c.nodes[1])
	home := c.awaitHome(token)
	ben := join("Ben", home)
	var cleo, stays *person
	if home.Node == c.nodes[1].Node {
		cleo = join("Cleo", c.nodes[2])
		stays = cleo
	} else {
		cleo = join("Cleo", home)
		stays = ada
	}
	people := []*person{ada, ben, cleo}
	sessions := map[string]string{}
	for _, p := range people {
		awaitStreams(t, p, 2)
		sessions[p.name] = p.session()
		p.watchGaps()
		p.forgetEvents()
	}
	report := func(when string) {
		for _, p := range people {
			for _, g := range p.gaps() {
				t.Logf("%s: %s sees %v", when, p.name, g)
			}
			p.resetGaps()
		}
	}
	talkFor(t, 2*time.Second)
	for _, p := range people {
		p.resetGaps()
	}
	talkFor(t, 10*time.Second)
	report("before")
	started := time.Now()
	if err := syscall.Kill(home.PID, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for _, p := range people {
		eventually(t, 30*time.Second, p.name+" is served by a node that stays", func() (bool, string) {
			serving, now := servedBy(p)
			return serving != "" && serving != home.Node && now != home.Node, serving + " at home " + now
		})
	}
	t.Logf("everybody has moved %v after the signal", time.Since(started).Round(100*time.Millisecond))
	talkFor(t, 10*time.Second-min(time.Since(started), 9*time.Second))
	report("drained")
	for _, p := range people {
		if now := p.session(); now != sessions[p.name] {
			t.Errorf("%s has another session, %s instead of %s", p.name, now, sessions[p.name])
		}
		if events := p.events(); slices.ContainsFunc(events, func(e string) bool { return strings.HasPrefix(e, "leave ") }) {
			t.Errorf("%s was told %v", p.name, events)
		}
		awaitStreams(t, p, 2)
	}
	if events := stays.events(); len(events) > 0 {
		t.Errorf("%s, who did not move, was told %v", stays.name, events)
	}
	ben.screenshot("call-after-drain")
}

// TestRedirectEndsAtTheHome follows the redirect of the protocol: who comes to
// another node is served by the home.
func TestRedirectEndsAtTheHome(t *testing.T) {
	b := browser(t)
	c := startCluster(t, 3)
	token := c.conversation(c.nodes[0], "Redirect")
	first := joinAsGuest(t, b, "Ada", c.nodes[1].HTTP+"/call/"+token)
	var home string
	eventually(t, 20*time.Second, "the room has a home", func() (bool, string) {
		_, home = servedBy(first)
		return home != "", ""
	})
	for i, name := range []string{"Ben", "Cleo"} {
		other := c.nodes[0]
		if i == 1 {
			other = c.nodes[2]
		}
		p := joinAsGuest(t, b, name, other.HTTP+"/call/"+token)
		eventually(t, 20*time.Second, name+" is served by the home", func() (bool, string) {
			serving, _ := servedBy(p)
			return serving == home, serving + " instead of " + home
		})
		awaitStreams(t, p, i+1)
	}
}
