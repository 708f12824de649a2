package load

import (
	"math"
	"sync/atomic"

	"github.com/pion/interceptor"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

// Loss is a network that loses video packets between client and node, in both
// directions. Retransmissions get through. The share of each stream is lost at
// random, but at the same places in each run.
type Loss struct {
	share float64
	lost  atomic.Uint64
}

// NewLoss makes a network that loses the share of the packets, between 0 and 1.
func NewLoss(share float64) *Loss { return &Loss{share: share} }

// Packets is how many were lost.
func (l *Loss) Packets() uint64 { return l.lost.Load() }

// NewInterceptor implements interceptor.Factory. As the first of the registered
// ones it is next to the network: the others repair what it loses.
func (l *Loss) NewInterceptor(string) (interceptor.Interceptor, error) { return &lossy{loss: l}, nil }

type lossy struct {
	interceptor.NoOp
	loss *Loss
}

// lossless is how many packets of a stream get through at first: nobody can
// know of a loss before the first packet that came.
const lossless = 50

// dice tells for the packets of one stream, in turn, whether one is lost.
func (l *Loss) dice(info *interceptor.StreamInfo) func() bool {
	if info.MimeType != webrtc.MimeTypeVP8 {
		return func() bool { return false }
	}
	var n atomic.Uint64
	return func() bool {
		i := n.Add(1)
		if i <= lossless || float64(mix(i)) >= l.share*math.MaxUint64 {
			return false
		}
		l.lost.Add(1)
		return true
	}
}

// BindLocalStream loses what is sent.
func (l *lossy) BindLocalStream(info *interceptor.StreamInfo, w interceptor.RTPWriter) interceptor.RTPWriter {
	lost := l.loss.dice(info)
	return interceptor.RTPWriterFunc(func(h *rtp.Header, payload []byte, a interceptor.Attributes) (int, error) {
		// A retransmission has the SSRC of its own stream.
		if h.SSRC == info.SSRC && lost() {
			return h.MarshalSize() + len(payload), nil
		}
		return w.Write(h, payload, a)
	})
}

// BindRemoteStream loses what comes.
func (l *lossy) BindRemoteStream(info *interceptor.StreamInfo, r interceptor.RTPReader) interceptor.RTPReader {
	lost := l.loss.dice(info)
	return interceptor.RTPReaderFunc(func(b []byte, a interceptor.Attributes) (int, interceptor.Attributes, error) {
		for {
			n, attributes, err := r.Read(b, a)
			if err != nil || !lost() {
				return n, attributes, err
			}
		}
	})
}
