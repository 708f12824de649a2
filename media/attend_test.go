package media_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/interceptor/pkg/twcc"
	"github.com/pion/rtcp"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/media/mediatest"
)

// listener hears the RTCP that a client gets.
type listener struct {
	interceptor.NoOp
	mu      sync.Mutex
	packets []rtcp.Packet // guarded by mu
}

func (l *listener) NewInterceptor(string) (interceptor.Interceptor, error) { return l, nil }

func (l *listener) BindRTCPReader(r interceptor.RTCPReader) interceptor.RTCPReader {
	return interceptor.RTCPReaderFunc(func(b []byte, a interceptor.Attributes) (int, interceptor.Attributes, error) {
		n, a, err := r.Read(b, a)
		if err == nil {
			if packets, err := rtcp.Unmarshal(b[:n]); err == nil {
				l.mu.Lock()
				l.packets = append(l.packets, packets...)
				l.mu.Unlock()
			}
		}
		return n, a, err
	})
}

// heard is what there was of a kind.
func heard[P rtcp.Packet](l *listener) (all []P) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.packets {
		if p, ok := p.(P); ok {
			all = append(all, p)
		}
	}
	return all
}

// A publisher is told what arrives: of each stream what is lost, of single packets
// when they came, and what bitrate is wanted.
func TestPublisherIsToldWhatArrives(t *testing.T) {
	t.Parallel()
	e := engine(t, media.Config{MaxStreamBitrate: 900_000}, media.Deps{})
	numbers, err := twcc.NewHeaderExtensionInterceptor()
	if err != nil {
		t.Fatal(err)
	}
	hears := &listener{}
	loss := &lossyNetwork{lost: new(atomic.Uint64), loses: func(n uint64) bool { return n%4 == 0 }}
	var limit atomic.Int64
	limit.Store(800_000)
	sender, _ := offerFor(t, e, mediatest.PublisherConfig{
		Audio: true, Video: true, Stream: 42,
		Options: mediatest.Options{NoRTX: true, Interceptors: []interceptor.Factory{loss, numbers, hears}},
	}, media.PublishRequest{ID: pubID("a", 1), MaxBitrate: func() int { return int(limit.Load()) }, Bitrate: 700_000})
	if err := sender.Connected(within(t)); err != nil {
		t.Fatal(err)
	}
	sender.Start()
	told := func() bool {
		streams, reported := map[uint32]bool{}, false
		for _, r := range heard[*rtcp.ReceiverReport](hears) {
			for _, b := range r.Reports {
				// A quarter is lost; a report may begin or end in between.
				if b.FractionLost < 40 || b.FractionLost > 90 || b.TotalLost == 0 {
					continue
				}
				streams[b.SSRC] = true
				reported = reported || b.LastSenderReport != 0
			}
		}
		var arrived, lost int
		for _, f := range heard[*rtcp.TransportLayerCC](hears) {
			arrived += len(f.RecvDeltas)
			lost += int(f.PacketStatusCount) - len(f.RecvDeltas)
		}
		limits := heard[*rtcp.ReceiverEstimatedMaximumBitrate](hears)
		return len(streams) == 2 && reported && arrived > 100 && lost > 10 &&
			len(limits) > 0 && limits[0].Bitrate == 700_000 && len(limits[0].SSRCs) == 1
	}
	for ctx := within(t); !told(); {
		if ctx.Err() != nil {
			t.Fatalf("told: %v\n%v", heard[*rtcp.ReceiverReport](hears), heard[*rtcp.TransportLayerCC](hears))
		}
		time.Sleep(10 * time.Millisecond) // nothing tells of it
	}
	// A limit that falls below what the publisher wishes for itself is told, too.
	limit.Store(600_000)
	lower := func() bool {
		limits := heard[*rtcp.ReceiverEstimatedMaximumBitrate](hears)
		return limits[len(limits)-1].Bitrate == 600_000
	}
	for ctx := within(t); !lower(); {
		if ctx.Err() != nil {
			t.Fatal("the new limit is not told")
		}
		time.Sleep(10 * time.Millisecond) // nothing tells of it
	}
}
