package media

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/rtp"
	pionsrtp "github.com/pion/srtp/v3"
	"github.com/pion/webrtc/v4"
)

// opener is a burst whose receiver opens everything, and looks for numbers that
// come a second time.
type opener struct {
	t       *testing.T
	room    [2 * MaxPacket]byte
	context *pionsrtp.Context
	high    map[uint32]int64  // highest index by SSRC
	seen    map[string][]byte // by SSRC and index
	again   int
	rounds  int64
	lose    int // so many are lost, and never opened
}

func newOpener(t *testing.T) *opener {
	t.Helper()
	c, err := pionsrtp.CreateContext(make([]byte, 32), make([]byte, 12), pionsrtp.ProtectionProfileAeadAes256Gcm, pionsrtp.SRTPNoReplayProtection())
	if err != nil {
		t.Fatal(err)
	}
	return &opener{t: t, context: c, high: map[uint32]int64{}, seen: map[string][]byte{}}
}

func (o *opener) Room(size int) []byte { return o.room[:size] }
func (*opener) Spill()                 {}
func (*opener) Flush() int             { return 0 }
func (*opener) TryFlush() bool         { return true }
func (*opener) Release()               {}

func (o *opener) Add(_ netip.AddrPort, n int) {
	if o.lose > 0 {
		o.lose--
		return
	}
	b := bytes.Clone(o.room[:n])
	if _, err := o.context.DecryptRTP(nil, b, nil); err != nil {
		o.t.Fatalf("the receiver cannot open it: %v", err)
	}
	ssrc, seq := binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint16(b[2:])
	high, ok := o.high[ssrc]
	index := high + int64(int16(seq-uint16(high)))
	if !ok {
		index = int64(seq)
	}
	o.high[ssrc] = max(high, index)
	o.rounds = max(o.rounds, index>>16)
	key := fmt.Sprint(ssrc, index)
	if was, ok := o.seen[key]; ok {
		o.again++
		if !bytes.Equal(was, b) {
			o.t.Fatalf("SSRC %d, packet %d: another packet under the same nonce", ssrc, index)
		}
	}
	o.seen[key] = b
}

// without is what was negotiated with a client that knows no retransmissions.
type withoutRTX struct{ negotiated }

func (withoutRTX) CodecParameters() []webrtc.RTPCodecParameters {
	return negotiated{}.CodecParameters()[:1]
}
func (withoutRTX) SSRCRetransmission() webrtc.SSRC { return 0 }

// Whatever happens to a track, no two packets are sealed under one nonce, and a
// receiver that gets everything opens everything.
func TestNonceIsUsedOnce(t *testing.T) {
	for seed := range uint64(8) {
		for name, c := range map[string]webrtc.TrackLocalContext{"rtx": negotiated{ssrc: 7}, "identical": withoutRTX{negotiated{ssrc: 7}}} {
			t.Run(fmt.Sprint(name, seed), func(t *testing.T) {
				o := newOpener(t)
				chaos(t, o, c, rand.New(rand.NewPCG(seed, 1)))
				if o.rounds < 1 || len(o.seen) < 1500 || name == "identical" && o.again < 100 {
					t.Errorf("%d packets, %d of them again, in %d rounds of the numbers", len(o.seen), o.again, o.rounds)
				}
			})
		}
	}
}

// So it is with two voices of which one is heard at a time, for a receiver that goes
// from one to the other: what is left out has no numbers, and comes late or twice.
func TestNonceOfVoicesIsUsedOnce(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			o, r := newOpener(t), rand.New(rand.NewPCG(seed, 2))
			all := theatre(t, 1, 2)
			pub := Publication{Tracks: []TrackInfo{{Kind: Audio, Codec: codecVP8(), Layers: make([]LayerInfo, 1)}}}
			net := &network{burst: func() burst { return o }}
			var feeds [2]*feed
			for i := range feeds {
				feeds[i] = newFeed(pub, &group{stage: all[0].v.stage}, net)
				all[i].v = feeds[i].layers[0][0].voice
			}
			d := listening(t, feeds[0], withoutRTX{negotiated{ssrc: 7}}, 1)
			now, talks := time.Now(), 0
			for range 6000 {
				i := r.IntN(2)
				l, s := feeds[i].layers[0][0], all[i]
				switch r.IntN(60) {
				case 0:
					s.head.SequenceNumber += uint16(r.IntN(1 << 15)) // long lost
				case 1:
					last, _, _ := l.voice.numbering.Last()
					l.epoch.Add(1) // another source, with other packets under the same numbers
					l.voice.restart()
					l.ring.Clear()
					s.head.SequenceNumber = last - uint16(r.IntN(50))
				case 2:
					d.rebind(feeds[r.IntN(2)], 0)
				case 3:
					paused := r.IntN(3) > 0
					d.choose(&paused, nil)
				case 4, 5, 6:
					last, _, _ := d.numbering.Last()
					var lost []uint16
					for range r.IntN(40) {
						lost = append(lost, last-uint16(r.IntN(60)))
					}
					d.resend(lost)
				case 7, 8:
					talks = r.IntN(2)
				default:
					now = now.Add(20 * time.Millisecond)
					loudness := 40
					if talks == i {
						loudness = 90
					}
					var batch []*Packet
					for range 1 + r.IntN(8) {
						switch p := s.packet(loudness, now); r.IntN(30) {
						case 0:
							p.Release() // lost
						case 1:
							s.head.SequenceNumber--
							s.head.Timestamp -= 960
							batch = append(batch, p, s.packet(loudness, now))
						default:
							batch = append(batch, p)
						}
					}
					if r.IntN(4) == 0 {
						r.Shuffle(len(batch), func(i, j int) { batch[i], batch[j] = batch[j], batch[i] })
					}
					l.forward(batch, flush)
				}
			}
			if len(o.seen) < 1500 || o.again < 100 {
				t.Errorf("%d packets, %d of them again", len(o.seen), o.again)
			}
		})
	}
}

// Who loses the first packets, at the end of a round of the publisher's numbers,
// can open those of the next.
func TestFirstPacketsAreLost(t *testing.T) {
	o := newOpener(t)
	o.lose = 10
	f, _, _ := fan(t, 1)
	l := f.layers[0][0]
	l.net.burst = func() burst { return o }
	var pool Pool
	for seq := uint16(65530); seq != 100; seq++ {
		l.forward([]*Packet{frame(&pool, seq, seq == 65530)}, flush)
	}
	if len(o.seen) != 96 {
		t.Errorf("%d packets", len(o.seen))
	}
}

// What was found to be sent again is not sent when another source has begun
// meanwhile, whose packets have the same numbers.
func TestSourceBeginsWhileResending(t *testing.T) {
	o := newOpener(t)
	f, _, _ := fan(t, 0)
	l := f.layers[0][0]
	l.net.burst = func() burst { return o }
	d := listening(t, f, withoutRTX{negotiated{ssrc: 7}}, 1)
	var pool Pool
	r := rand.New(rand.NewPCG(1, 1))
	source := func() {
		l.epoch.Add(1)
		l.ring.Clear()
		for seq := range uint16(20) {
			l.forward([]*Packet{noisy(t, &pool, r, seq)}, flush)
		}
	}
	source()
	last, _, _ := d.numbering.Last()
	l.net.burst = func() burst {
		l.net.burst = func() burst { return o }
		source()
		return o
	}
	d.resend([]uint16{last - 1, last})
	if o.again > 0 {
		t.Errorf("%d packets of the source before were sent again", o.again)
	}
}

// crowded is a burst that holds no more than one does, and looks whether the lock of
// any track is held where it waits.
type crowded struct {
	nowhere
	tracks  []*downTrack
	pending int
	waits   int
	locked  bool
}

func (c *crowded) Add(to netip.AddrPort, n int) {
	c.nowhere.Add(to, n)
	if c.pending += n; c.pending > 64<<10+batchSize*MaxPacket {
		c.Flush()
	}
}

func (c *crowded) Spill() {
	if c.pending >= 64<<10 {
		c.Flush()
	}
}

func (c *crowded) Flush() int {
	c.waits++
	c.pending = 0
	for _, d := range c.tracks {
		if d.mu.TryLock() {
			d.mu.Unlock()
		} else {
			c.locked = true
		}
	}
	return 0
}

// A keyframe for many finds no room for all of it: who sends waits for that without
// the lock of a track, which its subscriber's requests need, and other layers.
func TestKeyframeDoesNotWaitWithTheLock(t *testing.T) {
	f, tracks, _ := fan(t, 50)
	l := f.layers[0][0]
	c := &crowded{tracks: tracks}
	l.net.burst = func() burst { return c }
	var pool Pool
	var batch []*Packet
	for seq := range uint16(batchSize) {
		batch = append(batch, frame(&pool, seq, seq == 0))
	}
	l.forward(batch, flush)
	for port := 1; port <= len(tracks); port++ {
		if n := c.packets[port]; n != batchSize {
			t.Errorf("%d packets for %d", n, port)
		}
	}
	if c.locked || c.waits < 25 {
		t.Errorf("waited %d times, with the lock: %t", c.waits, c.locked)
	}
}

// Who sends much again does not wait for room with the lock of the track, which
// the goroutine of a socket may need.
func TestResendDoesNotWaitWithTheLock(t *testing.T) {
	f, tracks, _ := fan(t, 1)
	l := f.layers[0][0]
	var pool Pool
	var all []uint16
	for seq := range uint16(200) {
		l.forward([]*Packet{frame(&pool, seq, seq == 0)}, flush)
		all = append(all, seq)
	}
	c := &crowded{tracks: tracks}
	l.net.burst = func() burst { return c }
	tracks[0].resend(all)
	if c.packets[1] != 200 || c.locked || c.waits < 3 {
		t.Errorf("%d packets, waited %d times, with the lock: %t", c.packets[1], c.waits, c.locked)
	}
}

// A packet that is asked for while it is on its way, in the history but not yet
// sealed for the subscriber, is sent, once.
func TestResendBeforeFirst(t *testing.T) {
	o := newOpener(t)
	f, _, _ := fan(t, 0)
	l := f.layers[0][0]
	l.net.burst = func() burst { return o }
	d := listening(t, f, withoutRTX{negotiated{ssrc: 7}}, 1)
	var pool Pool
	for _, seq := range []uint16{1, 2, 4} {
		l.forward([]*Packet{frame(&pool, seq, seq == 1)}, flush)
	}
	late := frame(&pool, 3, false)
	l.ring.Put(3, late)
	d.resend([]uint16{3})
	if len(o.seen) != 4 {
		t.Errorf("%d packets have been sent, want 4", len(o.seen))
	}
	l.write(*l.sinks.Load(), []*Packet{late}, flush)
	if o.again > 0 {
		t.Errorf("the packet was sent %d times more", o.again)
	}
}

// chaos is the life of a track: two publications of three layers that lose,
// double and reorder packets, and begin anew; a subscriber that chooses layers,
// pauses, and asks for everything again.
func chaos(t *testing.T, o *opener, c webrtc.TrackLocalContext, r *rand.Rand) {
	t.Helper()
	pub := Publication{Tracks: []TrackInfo{{Kind: Video, Codec: codecVP8(), Layers: make([]LayerInfo, MaxLayers)}}}
	net := &network{burst: func() burst { return o }}
	feeds := [2]*feed{newFeed(pub, &group{}, net), newFeed(pub, &group{}, net)}
	d := listening(t, feeds[0], c, 1)
	var pool Pool
	var next [2][MaxLayers]uint16
	for f := range next {
		for l := range next[f] {
			next[f][l] = uint16(r.Uint32())
		}
	}
	last := uint16(0)
	for range 6000 {
		f, l := r.IntN(2), r.IntN(MaxLayers)
		at, on := feeds[f].layers[0][l], &next[f][l]
		switch r.IntN(60) {
		case 0:
			*on += uint16(r.IntN(1 << 15)) // long lost
		case 1:
			at.epoch.Add(1) // another source, with other packets under the same numbers
			at.ring.Clear()
			*on -= uint16(r.IntN(50))
		case 2:
			d.rebind(feeds[r.IntN(2)], 0)
		case 3, 4, 5:
			target := r.IntN(MaxLayers)
			d.choose(nil, &target)
		case 6:
			paused := r.IntN(3) > 0
			d.choose(&paused, nil)
		case 7, 8, 9, 10:
			var lost []uint16
			for range r.IntN(40) {
				lost = append(lost, last-uint16(r.IntN(60)))
			}
			d.resend(lost)
		default:
			var batch []*Packet
			for range 1 + r.IntN(8) {
				if *on++; r.IntN(30) > 0 {
					batch = append(batch, noisy(t, &pool, r, *on))
				}
			}
			if r.IntN(4) == 0 {
				r.Shuffle(len(batch), func(i, j int) { batch[i], batch[j] = batch[j], batch[i] })
			}
			at.forward(batch, flush)
		}
		last, _, _ = d.numbering.Last()
	}
}

// noisy is a packet of any frame, no two of which are alike.
func noisy(t *testing.T, pool *Pool, r *rand.Rand, seq uint16) *Packet {
	t.Helper()
	p := pool.Get()
	h := rtp.Header{Version: 2, PayloadType: PayloadVP8, SequenceNumber: seq, Timestamp: r.Uint32(), Marker: r.IntN(2) == 0, SSRC: 1}
	if r.IntN(2) == 0 {
		if err := h.SetExtension(ExtVideoOrientation, []byte{byte(r.Uint32())}); err != nil {
			t.Fatal(err)
		}
	}
	n, err := h.MarshalTo(p.Buffer())
	if err != nil {
		t.Fatal(err)
	}
	b := p.Buffer()[n:]
	n += copy(b, []byte{0x90, 0x80, 0x80 | byte(seq>>8)&0x7f, byte(seq), byte(r.IntN(4)) & 1})
	binary.BigEndian.PutUint64(b[5:], r.Uint64())
	if err := p.Parse(n + 8); err != nil {
		t.Fatal(err)
	}
	p.Arrival = time.Now()
	return p
}
