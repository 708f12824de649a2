//go:build linux

package main

import (
	"context"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/talkd/talkd/media"
)

// yardstick tells how fast the machine is just now, by a process that does the
// same work over and over where the forwarding ones run. Neighbours on the same
// hardware slow it down by a third from one second to the next, which nothing
// else shows here: the clock is the same, and no time is stolen.
type yardstick struct {
	p       *process
	core    int
	fastest time.Duration
}

const (
	// calm is how much slower than ever the work may be.
	calm = 1.10
	// calibration is how long the fastest is looked for at first.
	calibration = 2 * time.Second
)

func newYardstick(ctx context.Context, core int, calibrate time.Duration) (*yardstick, error) {
	p, err := start(ctx, Setup{Variant: Floor}, core)
	if err != nil {
		return nil, err
	}
	y := &yardstick{p: p, core: core, fastest: time.Hour}
	for end := time.Now().Add(calibrate); time.Now().Before(end) && err == nil; {
		_, err = y.probe()
	}
	return y, err
}

// probe is one look.
func (y *yardstick) probe() (took time.Duration, err error) {
	err = y.p.Call("Node.Work", None{}, &took)
	y.fastest = min(y.fastest, took)
	return took, err
}

// calm tells whether the machine was as fast as ever.
func (y *yardstick) calm(took time.Duration) bool { return float64(took) <= calm*float64(y.fastest) }

func (y *yardstick) Close() error { return y.p.Close() }

// stolen is for how long a neighbour has had the core, or one of all, in the
// kernel's ticks.
func stolen(core int) (ticks int, err error) {
	name := "cpu"
	if core != anyCore {
		name += strconv.Itoa(core)
	}
	text, err := os.ReadFile("/proc/stat")
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 8 && f[0] == name {
			ticks, err = strconv.Atoi(f[8])
		}
	}
	return ticks, err
}

const (
	workBursts = 250
	workBurst  = 8
)

// Work forwards a fixed number of packets to one deaf receiver on each
// processor, and tells how long that took.
func (n *Node) Work(_ None, took *time.Duration) error {
	if n.works == nil {
		for range runtime.GOMAXPROCS(0) {
			w, err := newWork()
			if err != nil {
				return err
			}
			n.works = append(n.works, w)
		}
	}
	began := time.Now()
	var wg sync.WaitGroup
	for _, w := range n.works {
		wg.Go(func() { fatal(w.run()) })
	}
	wg.Wait()
	*took = time.Since(began)
	return nil
}

// work is a lane to one receiver, which has no socket of a client.
type work struct {
	*lane
	packets [][]byte
}

func newWork() (*work, error) {
	l, err := newLane()
	if err != nil {
		return nil, err
	}
	c := tight("", media.Video, 1200, workBurst, 1, 0)
	r, err := newReceiver(Floor, c)
	if err != nil {
		return nil, err
	}
	if err := r.deafen(); err != nil {
		return nil, err
	}
	secret := newSecret(c.Profile)
	key, err := secret.sealing()
	if err != nil {
		return nil, err
	}
	to, err := netip.ParseAddrPort(r.socket.LocalAddr().String())
	if err != nil {
		return nil, err
	}
	l.subscribe(to, key, secret.SSRC)
	s := newSource(c.Kind, 1, c.Shape, 0)
	w := &work{lane: l}
	for range workBurst {
		b := make([]byte, media.MaxPacket)
		w.packets = append(w.packets, slices.Clip(b[:s.put(b, false)]))
	}
	return w, nil
}

func (w *work) run() error {
	for range workBursts {
		if err := w.forward(w.packets); err != nil {
			return err
		}
	}
	return nil
}
