package relay

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/media/relay/internal/relaypb"
	"github.com/talkd/talkd/store"
)

const (
	// clockInterval is how often the layers' clocks are looked at. Browsers
	// send sender reports every few hundred milliseconds at most.
	clockInterval = 250 * time.Millisecond
	// demandQueue is the number of requests that wait for a flow's goroutine.
	// One that finds it full is dropped: who lacks a packet asks again.
	demandQueue = 64
	// keyframeInterval merges the copies of a keyframe request.
	keyframeInterval = 250 * time.Millisecond
	// auditInterval is how often it is asked whether the other node still may
	// have a flow. Refused maxRefusals times in a row, the flow ends; the first
	// refusal may be of a moment in which a home has moved.
	auditInterval = 5 * time.Second
	maxRefusals   = 2
	// auditPatience bounds one such question: what is not known by now is a
	// refusal.
	auditPatience = 250 * time.Millisecond
)

// flow is a publication of this node that flows to another one.
type flow struct {
	m      *Manager
	key    flowKey
	local  Local
	group  string
	link   *link
	to     netip.AddrPort
	layers []*outLayer
	ports  []*port
	data   DataSubscription // nil when the publication has none
	past   []uint32         // streams that begin with packets since a keyframe

	demands  chan demand
	once     sync.Once
	reason   relaypb.Reason // set before ended is closed
	ended    chan struct{}
	detached chan struct{} // nothing flows any more
}

// demand is a request of the receiver; a keyframe when no packets are named.
type demand struct {
	layer *outLayer
	seqs  []uint16
}

// Pull serves one flow. What ends the call ends the flow.
func (s *server) Pull(r *relaypb.PullRequest, stream grpc.ServerStreamingServer[relaypb.PullEvent]) error {
	f, err := s.m.newFlow(stream.Context(), r)
	if err != nil {
		return err
	}
	defer s.m.removeFlow(f)
	if err := f.begin(stream.Context(), r.GetPast()); err != nil {
		f.detach()
		return err
	}
	var tasks sync.WaitGroup
	tasks.Go(f.control)
	tasks.Go(f.audit)
	defer tasks.Wait()
	defer f.end(relaypb.Reason_REASON_UNSPECIFIED)
	return f.run(stream)
}

// newFlow checks a request. Its errors are the answer.
func (m *Manager) newFlow(ctx context.Context, r *relaypb.PullRequest) (*flow, error) {
	peer, ok := m.deps.PeerID(ctx)
	if !ok {
		return nil, status.Error(codes.Unauthenticated, "caller unknown")
	}
	id := media.PubID{
		Session: store.SessionID(r.GetSession()), Incarnation: r.GetIncarnation(),
		Kind: r.GetKind(), Generation: r.GetGeneration(),
	}
	if !id.Valid() || len(r.GetLayers()) > media.MaxTracks*media.MaxLayers {
		return nil, status.Error(codes.InvalidArgument, "not a publication")
	}
	l, ok := m.servedLink(peer, r.GetMediaEpoch())
	if !ok {
		return nil, status.Error(codes.FailedPrecondition, "keys unknown")
	}
	local, ok := m.deps.Local(id)
	if !ok {
		return nil, status.Error(codes.NotFound, "no such publication")
	}
	if err := m.deps.Authorize(ctx, peer, id); err != nil {
		m.deps.Logger.Debug("pull denied", logNode, peer, logPublication, id.String(), "error", err)
		return nil, status.Error(codes.PermissionDenied, "not for this node")
	}
	to, err := m.address(ctx, peer)
	if err != nil {
		return nil, status.Error(codes.Unavailable, "caller has no relay address")
	}
	pub := local.Publication()
	f := &flow{
		m: m, key: flowKey{peer: peer, pub: id}, local: local, group: pub.Group, link: l, to: to,
		demands: make(chan demand, demandQueue), ended: make(chan struct{}), detached: make(chan struct{}),
	}
	for _, layer := range r.GetLayers() {
		if layer.GetTrack() >= media.MaxTracks || layer.GetLayer() >= media.MaxLayers {
			return nil, status.Error(codes.InvalidArgument, "not a layer")
		}
		o := &outLayer{m: m, flow: f, track: uint8(layer.GetTrack()), layer: uint8(layer.GetLayer())}
		o.port = &port{link: l, out: o}
		f.layers = append(f.layers, o)
		f.ports = append(f.ports, o.port)
	}
	if !m.table.take(l, r.GetFirstStream(), f.ports) {
		return nil, status.Error(codes.FailedPrecondition, "stream ids used")
	}
	return f, nil
}

// begin attaches the layers, after an earlier flow of the same publication to
// the same node has ended: that node would not ask anew if it had one, so the
// end of the earlier has not been noticed yet. With its past, a layer begins with the
// keyframe that those who listen here have seen, if that was just now: the publisher
// is not asked for another one so soon.
func (f *flow) begin(ctx context.Context, past bool) error {
	earlier, ok := f.m.addFlow(f)
	if !ok {
		return status.Error(codes.Unavailable, "relay stopped")
	}
	if earlier != nil {
		earlier.end(relaypb.Reason_REASON_REPLACED)
		select {
		case <-earlier.detached:
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		}
	}
	for _, o := range f.layers {
		a, err := f.local.Attach(o.track, o.layer, o)
		if err != nil {
			return status.Error(codes.NotFound, "no such layer")
		}
		o.attachment = a
		if past && a.Past() {
			f.past = append(f.past, o.port.stream)
		}
	}
	if f.local.Publication().Data {
		f.data = f.local.SubscribeData()
	}
	return nil
}

// detach is called once, by control or by who does not start it.
func (f *flow) detach() {
	for _, o := range f.layers {
		if o.attachment != nil {
			o.attachment.Close()
		}
	}
	if f.data != nil {
		f.data.Close()
	}
	f.m.table.release(f.link, f.ports)
	close(f.detached)
}

// end stops the flow; the first reason counts.
func (f *flow) end(reason relaypb.Reason) {
	f.once.Do(func() {
		f.reason = reason
		close(f.ended)
	})
}

// demand hands over a request. It never blocks.
func (f *flow) demand(d demand) {
	select {
	case f.demands <- d:
	default:
		f.m.stats.drop(dropDemand)
	}
}

// control answers requests until the flow ends. It is a goroutine apart from
// run, which waits for the RPC stream.
func (f *flow) control() {
	defer f.detach()
	refreshed := make(map[*outLayer]time.Time, len(f.layers))
	for {
		select {
		case <-f.ended:
			return
		case d := <-f.demands:
			if len(d.seqs) > 0 {
				d.layer.attachment.NACK(d.seqs)
				continue
			}
			if now := time.Now(); now.Sub(refreshed[d.layer]) >= keyframeInterval {
				refreshed[d.layer] = now
				d.layer.attachment.Keyframe()
			}
		}
	}
}

// audit asks now and then whether the other node still may have the
// publication, until the flow ends. A node that is cut off from the home of the
// room hears of nobody's leaving.
func (f *flow) audit() {
	ticker := time.NewTicker(f.m.auditEvery)
	defer ticker.Stop()
	for refusals := 0; refusals < maxRefusals; {
		select {
		case <-f.ended:
			return
		case <-ticker.C:
		}
		ctx, cancel := context.WithTimeout(f.m.life, auditPatience)
		err := f.m.deps.Authorize(ctx, f.key.peer, f.key.pub)
		cancel()
		if err == nil {
			refusals = 0
			continue
		}
		refusals++
		f.m.deps.Logger.Debug("flow not allowed any more", logNode, f.key.peer, logPublication, f.key.pub.String(),
			"refusals", refusals, "error", err)
	}
	f.end(relaypb.Reason_REASON_NOT_ALLOWED)
}

// run sends what goes by RPC until the flow ends.
func (f *flow) run(stream grpc.ServerStreamingServer[relaypb.PullEvent]) error {
	if err := stream.Send(&relaypb.PullEvent{Event: &relaypb.PullEvent_Opened{Opened: &relaypb.Opened{Past: f.past}}}); err != nil {
		return err
	}
	var messages <-chan media.DataMessage
	if f.data != nil {
		messages = f.data.C()
	}
	ticker := time.NewTicker(clockInterval)
	defer ticker.Stop()
	sent := make([]media.Clock, len(f.layers))
	if err := f.sendClocks(stream, sent); err != nil {
		return err
	}
	for {
		select {
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		case <-f.m.life.Done():
			f.end(relaypb.Reason_REASON_STOPPING)
		case <-f.local.Done():
			f.end(relaypb.Reason_REASON_GONE)
		case <-f.ended:
			return stream.Send(&relaypb.PullEvent{Event: &relaypb.PullEvent_Ended{Ended: &relaypb.Ended{Reason: f.reason}}})
		case msg := <-messages:
			e := &relaypb.PullEvent_Message{Message: &relaypb.Message{Text: msg.Text, Data: msg.Data}}
			if err := stream.Send(&relaypb.PullEvent{Event: e}); err != nil {
				return err
			}
		case <-ticker.C:
			if err := f.sendClocks(stream, sent); err != nil {
				return err
			}
		}
	}
}

// sendClocks sends the clocks that differ from what was sent.
func (f *flow) sendClocks(stream grpc.ServerStreamingServer[relaypb.PullEvent], sent []media.Clock) error {
	for i, o := range f.layers {
		c, ok := o.attachment.Clock()
		if !ok || c == sent[i] {
			continue
		}
		e := &relaypb.PullEvent_Clock{Clock: &relaypb.Clock{
			Stream: o.port.stream, Ntp: c.NTP, Rtp: c.RTP,
			AgeUs: uint64(max(0, time.Since(c.Arrival)) / time.Microsecond),
		}}
		if err := stream.Send(&relaypb.PullEvent{Event: e}); err != nil {
			return err
		}
		sent[i] = c
	}
	return nil
}

// addFlow makes f the flow of its key, and returns the one that was.
func (m *Manager) addFlow(f *flow) (earlier *flow, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, false
	}
	earlier = m.flows[f.key]
	m.flows[f.key] = f
	return earlier, true
}

func (m *Manager) removeFlow(f *flow) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.flows[f.key] == f {
		delete(m.flows, f.key)
	}
}
