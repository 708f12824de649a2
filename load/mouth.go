package load

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/pion/rtp"
)

// Mouth sends one person's audio and video over all connections that publish
// them: none, one, or two while they change. The numbers go on whatever
// happens to the connections.
type Mouth struct {
	clock Clock

	mu      sync.Mutex // guards what follows
	voice   audioFeed
	picture videoFeed
	outs    []*Publisher
	asked   bool // for a keyframe
	audio   []time.Duration
	video   []time.Duration // when each packet was sent, by its number
}

func newMouth(number uint16, what Sending, clock Clock) *Mouth {
	return &Mouth{clock: clock, voice: newAudioFeed(number, what.Voice), picture: newVideoFeed(number, what.Video)}
}

// Sent is when each packet so far was sent, by its number.
func (m *Mouth) Sent(k Kind) []time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if k == Audio {
		return slices.Clone(m.audio)
	}
	return slices.Clone(m.video)
}

// keyframe asks for one, as a receiver does.
func (m *Mouth) keyframe() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = true
}

// add sends over this connection too. A new one begins with a keyframe.
func (m *Mouth) add(p *Publisher) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.outs, m.asked = append(m.outs, p), true
}

func (m *Mouth) remove(p *Publisher) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.outs = slices.DeleteFunc(m.outs, func(o *Publisher) bool { return o == p })
}

// run sends until the context ends, on schedule on average.
func (m *Mouth) run(ctx context.Context) {
	start := m.clock()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for n := 0; ; n++ {
		timer.Reset(start + time.Duration(n)*tick - m.clock())
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		m.say(n)
	}
}

func (m *Mouth) say(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.clock()
	m.audio = append(m.audio, now)
	voice := m.voice.packet(now, false)
	for _, p := range m.outs {
		_ = p.audio.WriteRTP(voice) // a connection that is gone takes nothing
	}
	if n%ticksPerFrame != 0 {
		return
	}
	frame := m.picture.frame(m.clock, m.asked, false)
	m.asked = false
	for _, packet := range frame {
		m.video = append(m.video, now)
		m.show(packet)
	}
}

func (m *Mouth) show(packet *rtp.Packet) {
	for _, p := range m.outs {
		_ = p.video.WriteRTP(packet) // see above
	}
}
