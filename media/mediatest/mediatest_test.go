package mediatest

import (
	"errors"
	"testing"

	"github.com/talkd/talkd/media"
)

func TestCheckerPassesWhatIsRight(t *testing.T) {
	for _, kind := range []string{Audio, Video} {
		g, c := NewGenerator(kind, 7), NewChecker(kind)
		for range 100 {
			for _, u := range g.Frame() {
				c.Packet(u.Sequence, u.Timestamp, u.Payload)
			}
		}
		r := c.Report()
		if r.Packets != 100*g.PerFrame || r.Missing+r.Late+r.Duplicates+len(r.Faults) != 0 || len(r.Streams) != 1 {
			t.Errorf("%s: %+v", kind, r)
		}
	}
}

func TestCheckerFindsWhatIsWrong(t *testing.T) {
	for name, change := range map[string]func(i int, u *Unit) bool{
		"payload":   func(i int, u *Unit) bool { u.Payload[len(u.Payload)-1] ^= byte(i >> 4); return true },
		"timestamp": func(i int, u *Unit) bool { u.Timestamp += uint32(i >> 4); return true },
		"picture":   func(i int, u *Unit) bool { u.Payload[3] += byte(i >> 4); return true },
		"gap":       func(i int, _ *Unit) bool { return i != 10 },
	} {
		g, c := NewGenerator(Video, 7), NewChecker(Video)
		for i := range 20 {
			u := g.Frame()[0]
			u.Sequence = uint16(i)
			if change(i, &u) {
				c.Packet(u.Sequence, u.Timestamp, u.Payload)
			}
		}
		r := c.Report()
		if name == "gap" && (r.Missing != 1 || len(c.Missing()) != 1) || name != "gap" && len(r.Faults) == 0 {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// What is sent again of the stream before comes when another one flows, and is no
// switch back.
func TestCheckerTakesLatePackets(t *testing.T) {
	before, after, c := NewGenerator(Audio, 7), NewGenerator(Audio, 8), NewChecker(Audio)
	first, lost := before.Frame()[0], before.Frame()[0]
	c.Packet(1, first.Timestamp, first.Payload)
	for seq := range uint16(3) {
		u := after.Frame()[0]
		c.Packet(3+seq, lost.Timestamp+960*(1+uint32(seq)), u.Payload)
		if seq == 0 {
			c.Packet(2, lost.Timestamp, lost.Payload)
		}
	}
	if r := c.Report(); len(r.Steps) != 1 || len(r.Streams) != 2 || r.Late != 1 || r.Missing+len(r.Faults) != 0 {
		t.Errorf("%+v", r)
	}
}

// TestCodecs: what a generator makes of each codec begins with a keyframe and is
// known again, and not as another codec's.
func TestCodecs(t *testing.T) {
	for _, c := range videoCodecs {
		g := NewGenerator(Video, 1)
		g.Codec = c.mime
		for i := range 3 {
			for j, u := range g.Frame() {
				m, err := read(Video, c.mime, u.Payload)
				if err != nil || m.Keyframe != (i == 0 && j == 0) {
					t.Errorf("%s: packet %d of frame %d: %+v %v", c.mime, j, i, m, err)
				}
				for _, other := range videoCodecs {
					if _, _, ok := other.read(u.Payload); ok && other.mime != c.mime && i > 0 && j == 0 {
						t.Errorf("%s is taken for %s", c.mime, other.mime)
					}
				}
			}
		}
	}
}

func TestSource(t *testing.T) {
	s := NewSource(NewGenerator(Video, 1))
	s.Push(2)
	s.Keyframe()
	s.NACK([]uint16{5})
	batch := make([]*media.Packet, 8)
	n, err := s.Read(batch)
	if err != nil || n != 6 {
		t.Fatalf("%d packets: %v", n, err)
	}
	for i, p := range batch[:n] {
		m, err := read(Video, "", p.Payload())
		if err != nil || int(m.Counter) != i || p.PayloadType() != media.PayloadVP8 || p.Marker != (i%3 == 2) {
			t.Errorf("packet %d: %+v %v", i, m, err)
		}
		p.Release()
	}
	if k, seqs := s.Asked(); k != 1 || len(seqs) != 1 {
		t.Errorf("asked: %d, %v", k, seqs)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(batch); !errors.Is(err, ErrSourceClosed) {
		t.Errorf("after Close: %v", err)
	}
}
