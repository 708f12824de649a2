//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/rpc"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	piondtls "github.com/pion/dtls/v3"
	"golang.org/x/sys/unix"
)

// Setup is what a forwarding process is told when it starts.
type Setup struct {
	Variant string
	Kind    string // of the stream, media.Audio or media.Video
	Shape
	Profile piondtls.SRTPProtectionProfile
	Streams int  // published side by side, each with receivers of its own
	Tight   bool // the packets are made in the process, not published to it
	Limit   int  // packets that a checker is to see, at most
}

// forwarder is one way to bring the packets of each stream to its receivers.
type forwarder interface {
	// subscribe makes an offer to one more receiver of a stream.
	subscribe(stream int, data bool) (id int, offer string, err error)
	answer(id int, answer string) error
	// publish takes the offer of who sends a stream.
	publish(stream int, offer string) (answer string, err error)
}

// The variants by name.
const (
	Floor = "floor" // the best that this kernel offers
	Talkd = "talkd" // package media
	Plain = "pion"  // Pion as its examples use it
	Bare  = "bare"  // a Pion connection without interceptors, for its memory
)

// variants are those that are compared.
var variants = [...]string{Floor, Talkd, Plain}

func newForwarder(s Setup, feeds []*feed) (forwarder, error) {
	switch s.Variant {
	case Floor:
		return newFloor(s, feeds)
	case Talkd:
		return newTalkd(s, feeds)
	case Plain, Bare:
		return newPlain(s, feeds)
	}
	return nil, fmt.Errorf("no variant %q", s.Variant)
}

// forward is the forwarding process. It is asked on stdin and ends with it.
func forward(setup string) error {
	var s Setup
	if err := json.Unmarshal([]byte(setup), &s); err != nil {
		return err
	}
	n := &Node{}
	if s.Tight {
		for i := range s.Streams {
			n.feeds = append(n.feeds, newFeed(newSource(s.Kind, uint32(1+i), s.Shape, s.Limit)))
		}
	}
	var err error
	if n.f, err = newForwarder(s, n.feeds); err != nil {
		return err
	}
	server := rpc.NewServer()
	if err := server.Register(n); err != nil {
		return err
	}
	server.ServeConn(struct {
		io.Reader
		io.WriteCloser
	}{os.Stdin, os.Stdout})
	return nil
}

// Node is what the measuring process may ask for.
type Node struct {
	f     forwarder
	feeds []*feed
}

// Offer is to be answered under its id.
type Offer struct {
	ID  int
	SDP string
}

// Subscribe is a wish for one more receiver.
type Subscribe struct {
	Stream int
	Data   bool
}

// Publish is an offer to send a stream.
type Publish struct {
	Stream int
	SDP    string
}

// Usage is what a process has used since it began.
type Usage struct {
	User, System time.Duration
	Allocations  uint64
}

// None is for what has nothing to say.
type None struct{}

func (n *Node) Subscribe(s Subscribe, o *Offer) (err error) {
	o.ID, o.SDP, err = n.f.subscribe(s.Stream, s.Data)
	return err
}

func (n *Node) Answer(a Offer, _ *None) error { return n.f.answer(a.ID, a.SDP) }

func (n *Node) Publish(p Publish, answer *string) (err error) {
	*answer, err = n.f.publish(p.Stream, p.SDP)
	return err
}

// Run lets the sources go and returns the packets of all when each has ended.
func (n *Node) Run(r Run, packets *int) error {
	before := n.packets()
	for _, f := range n.feeds {
		f.runs <- r
	}
	for _, f := range n.feeds {
		<-f.ended
	}
	*packets = n.packets() - before
	return nil
}

func (n *Node) packets() (sum int) {
	for _, f := range n.feeds {
		sum += f.source.packets
	}
	return sum
}

func (n *Node) Usage(_ None, u *Usage) error {
	var r unix.Rusage
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		return err
	}
	u.User, u.System = time.Duration(r.Utime.Nano()), time.Duration(r.Stime.Nano())
	u.Allocations = m.Mallocs
	return nil
}

// Resident is the memory of the process that is in use, in bytes.
func (n *Node) Resident(_ None, bytes *int) error {
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return err
	}
	var size, pages int
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		return err
	}
	*bytes = pages * os.Getpagesize()
	return nil
}
