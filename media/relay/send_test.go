package relay

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/talkd/talkd/media"
)

// exchange has a sender whose frames a receiver of the same process takes.
type exchange struct {
	t      testing.TB
	sock   *recorder
	out    *outLayer
	in     *inLayer
	intake *intake
	pool   media.Pool
}

func newExchange(t testing.TB) *exchange {
	m, in, out := fuzzManager(t)
	out.link.outEpoch = in.link.inEpoch // both have the same key
	return &exchange{t: t, sock: m.socket.(*recorder), out: out.out, in: in.in, intake: &intake{m: m}}
}

// write sends packets of these sizes, and returns the sizes of their frames.
func (x *exchange) write(sizes ...int) (packets []*media.Packet, frames []int) {
	for i, size := range sizes {
		packets = append(packets, testPacket(&x.pool, uint16(i), size))
	}
	x.out.Write(packets)
	x.intake.begin(time.Now())
	for _, f := range x.sock.take() {
		frames = append(frames, len(f.frame))
		x.intake.receive(f.frame)
	}
	x.intake.end()
	return packets, frames
}

// Frames that are nearly as long as the longest of their burst are as long, so
// that the kernel takes them together; the packets in them are as they were.
func TestFramesOfABurstAreOfOneSize(t *testing.T) {
	for _, c := range []struct {
		name        string
		sizes, want []int
	}{
		{"one", []int{100}, []int{100}},
		{"equal", []int{1200, 1200}, []int{1200, 1200}},
		{"as an encoder divides a picture", []int{1180, 1171, 1170, 1170, 1171}, []int{1180, 1180, 1180, 1180, 1180}},
		{"two pictures", []int{1100, 1100, 600, 600}, []int{1100, 1100, 600, 600}},
		{"at the bounds", []int{200 - maxPadding, 200, 200 - maxPadding - 1}, []int{200, 200, 200 - maxPadding - 1}},
		{"the largest", []int{media.MaxPacket - 1, media.MaxPacket}, []int{media.MaxPacket, media.MaxPacket}},
		{"nothing", nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := newExchange(t)
			packets, frames := x.write(c.sizes...)
			for i := range frames {
				frames[i] -= headerLen + tagLen
			}
			if diff := cmp.Diff(c.want, frames); diff != "" {
				t.Error(diff)
			}
			if len(packets) == 0 {
				return
			}
			got := make([]*media.Packet, len(packets)+1)
			n, err := x.in.Read(got)
			if err != nil || n != len(packets) {
				t.Fatalf("read %d packets, %v", n, err)
			}
			for i, p := range packets {
				if !bytes.Equal(got[i].Raw(), p.Raw()) || len(p.Raw()) != c.sizes[i] {
					t.Errorf("packet %d was changed", i)
				}
			}
			if out, in := x.out.bytes.Load(), x.in.bytes.Load(); out != in {
				t.Errorf("%d bytes of packets sent, %d received", out, in)
			}
		})
	}
}

// lossySocket loses the last frame of each burst.
type lossySocket struct{ socket }

type lossyBurst struct{ burst }

func (s lossySocket) burst() burst { return lossyBurst{s.socket.burst()} }
func (b lossyBurst) Flush() int    { return 1 + b.burst.Flush() }

func TestLossesOfTheKernelAreCounted(t *testing.T) {
	x := newExchange(t)
	x.out.m.socket = lossySocket{x.sock}
	x.write(100, 100, 100)
	if lost, dropped := x.out.lost.Load(), x.out.m.stats.drops[dropSend].Load(); lost != 1 || dropped != 1 {
		t.Errorf("%d frames lost, %d dropped", lost, dropped)
	}
}

// No frame has the counter of another one, whoever sends it: the layer, or the
// flow that answers a request.
func TestEachFrameHasANonceOfItsOwn(t *testing.T) {
	x := newExchange(t)
	done := make(chan struct{})
	packets := []*media.Packet{testPacket(&x.pool, 1, 100), testPacket(&x.pool, 2, 90), testPacket(&x.pool, 3, 100)}
	for range 4 {
		go func() {
			defer func() { done <- struct{}{} }()
			for i := range 300 {
				x.out.Write(packets[:i%4])
			}
		}()
	}
	for range 4 {
		<-done
	}
	var counters []uint64
	for _, f := range x.sock.take() {
		counters = append(counters, f.h.counter)
	}
	slices.Sort(counters)
	if n := len(slices.Compact(counters)); n != 4*75*(1+2+3) || counters[0] != 1 {
		t.Errorf("%d counters, from %d on", n, counters[0])
	}
}

// The way of a packet from Sink to Source allocates nothing.
func TestRelayingAllocatesNothing(t *testing.T) {
	m, in, out := fuzzManager(t)
	s, err := listen(t.Context(), "127.0.0.1:0", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.close() }()
	m.socket = s
	out.link.outEpoch, out.out.flow.to = in.link.inEpoch, s.addr()
	var pool media.Pool
	batch := make([]*media.Packet, 8)
	for i := range batch {
		batch[i] = testPacket(&pool, uint16(i), 1200-i)
	}
	intake, got := &intake{m: m}, make([]*media.Packet, 8)
	// A garbage collection may empty the pools in between, and the race detector
	// lets them lose things; one allocation per packet would be 8.
	if n := testing.AllocsPerRun(100, func() {
		out.out.Write(batch)
		for n := 0; n < len(batch); {
			if err := s.read(); err != nil {
				t.Fatal(err)
			}
			intake.begin(time.Now())
			for f := s.next(); f != nil; f = s.next() {
				intake.receive(f)
			}
			intake.end()
			k, err := in.in.Read(got)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range got[:k] {
				p.Release()
			}
			n += k
		}
	}); n > 4 {
		t.Errorf("%v allocations for 8 packets", n)
	}
}
