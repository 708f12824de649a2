package media_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/interceptor/pkg/nack"
	"github.com/pion/rtp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/media/mediatest"
)

// lossyNetwork loses some packets of each stream of a client, counted from 1;
// what is sent again gets through.
type lossyNetwork struct {
	interceptor.NoOp
	loses func(n uint64) bool
	lost  *atomic.Uint64
}

func (l *lossyNetwork) NewInterceptor(string) (interceptor.Interceptor, error) { return l, nil }

func (l *lossyNetwork) BindLocalStream(info *interceptor.StreamInfo, w interceptor.RTPWriter) interceptor.RTPWriter {
	var count atomic.Uint64
	var newest atomic.Uint32
	return interceptor.RTPWriterFunc(func(h *rtp.Header, payload []byte, a interceptor.Attributes) (int, error) {
		again := h.SSRC != info.SSRC // by RTX
		if n := newest.Load(); n != 0 && int16(h.SequenceNumber-uint16(n)) <= 0 {
			again = true
		}
		if !again {
			newest.Store(1<<16 | uint32(h.SequenceNumber))
			if l.loses(count.Add(1)) {
				l.lost.Add(1)
				return len(payload), nil
			}
		}
		return w.Write(h, payload, a)
	})
}

// What a publisher loses is asked for, comes, is forwarded, and not asked for
// any more: with RTX and without, of each layer, also when nothing is sent
// after it.
func TestPublisherIsAskedForLostPackets(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]mediatest.PublisherConfig{
		"rtx":       {Video: true, Stream: 20},
		"identical": {Video: true, Stream: 21, Options: mediatest.Options{NoRTX: true}},
		// The client of the tests does not name the layer in retransmissions as it
		// is to be done (RFC 8852 3.2).
		"simulcast": {Video: true, Stream: 22, Layers: 3, Options: mediatest.Options{NoRTX: true}},
	} {
		t.Run(name, func(t *testing.T) {
			registry := prometheus.NewRegistry()
			e := engine(t, media.Config{}, media.Deps{Registerer: registry})
			responder, err := nack.NewResponderInterceptor()
			if err != nil {
				t.Fatal(err)
			}
			loss := &lossyNetwork{lost: new(atomic.Uint64), loses: func(n uint64) bool { return n%30 >= 28 }}
			cfg.Interceptors = []interceptor.Factory{loss, responder}
			sender, p := publish(t, e, pubID("a", 1), cfg)
			c, _ := subscribe(t, e, mediatest.SubscriberConfig{}, false, p.Publication())
			sender.Start()
			wait(t, c, media.Video, packets(100))
			sender.Mute(true)
			before := c.Report(media.Video).Packets
			sender.Frames(media.Video, 20)
			if cfg.Layers == 0 { // else the layer may change meanwhile
				wait(t, c, media.Video, packets(before+59))
			}
			for ctx := within(t); metric(t, registry, "talkd_media_repairs_total", "outcome", "repaired") < float64(loss.lost.Load()); {
				if ctx.Err() != nil {
					t.Fatal("not everything comes")
				}
				time.Sleep(10 * time.Millisecond) // nothing tells of it
			}
			for _, f := range c.Report(media.Video).Faults {
				t.Error(f)
			}
			// Once each, unless this machine has more to do than to answer in time.
			lost, asks := float64(loss.lost.Load()), metric(t, registry, "talkd_media_repair_requests_total")
			if lost < 8 || asks > 4*lost {
				t.Errorf("asked %v times for %v lost packets", asks, lost)
			}
		})
	}
}
