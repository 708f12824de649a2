package signaling

import (
	"google.golang.org/protobuf/proto"

	"github.com/talkd/talkd/signaling/internal/signalpb"
)

// A room of thousands does not fit into one message between nodes, so that
// snapshots and attaches are cut into parts. The parts of one follow each other
// on one link; whoever gets another one than the next drops all of it, and asks
// or is asked again.
const (
	maxPart  = 1 << 20
	maxParts = 64
)

// cut begins another part whenever the last one is full.
type cut[T any] struct {
	parts []T
	size  int
	fresh func() T
}

// partFor is the part that n more bytes go into.
func (c *cut[T]) partFor(n int) T {
	if c.size += n; len(c.parts) == 0 || c.size > maxPart {
		c.parts, c.size = append(c.parts, c.fresh()), n
	}
	return c.parts[len(c.parts)-1]
}

func cutSnapshot(s *signalpb.Snapshot) []*signalpb.Snapshot {
	c := cut[*signalpb.Snapshot]{fresh: func() *signalpb.Snapshot {
		return &signalpb.Snapshot{CallSince: s.GetCallSince(), Life: s.GetLife(), TransientVersion: s.GetTransientVersion()}
	}}
	c.partFor(0)
	for _, m := range s.GetMembers() {
		part := c.partFor(proto.Size(m))
		part.Members = append(part.Members, m)
	}
	for _, p := range s.GetPublications() {
		part := c.partFor(len(p))
		part.Publications = append(part.Publications, p)
	}
	for _, t := range s.GetTransient() {
		part := c.partFor(proto.Size(t))
		part.Transient = append(part.Transient, t)
	}
	for _, f := range s.GetMissed() {
		part := c.partFor(proto.Size(f))
		part.Missed = append(part.Missed, f)
	}
	for i, p := range c.parts {
		p.Part, p.More = uint32(i), i < len(c.parts)-1
	}
	return c.parts
}

func cutAttach(a *signalpb.Attach) []*signalpb.Attach {
	c := cut[*signalpb.Attach]{fresh: func() *signalpb.Attach {
		return &signalpb.Attach{CallSince: a.GetCallSince(), Seq: a.GetSeq(), SeqEpoch: a.GetSeqEpoch(), SeqLife: a.GetSeqLife(), Life: a.GetLife(), Watching: a.GetWatching(), TransientVersion: a.GetTransientVersion()}
	}}
	c.partFor(0)
	for _, m := range a.GetOwn() {
		part := c.partFor(proto.Size(m))
		part.Own = append(part.Own, m)
	}
	for _, p := range a.GetOwnPublications() {
		part := c.partFor(len(p))
		part.OwnPublications = append(part.OwnPublications, p)
	}
	for _, m := range a.GetKnown() {
		part := c.partFor(proto.Size(m))
		part.Known = append(part.Known, m)
	}
	for _, p := range a.GetKnownPublications() {
		part := c.partFor(len(p))
		part.KnownPublications = append(part.KnownPublications, p)
	}
	for _, t := range a.GetTransient() {
		part := c.partFor(proto.Size(t))
		part.Transient = append(part.Transient, t)
	}
	for _, s := range a.GetUnheard() {
		part := c.partFor(proto.Size(s))
		part.Unheard = append(part.Unheard, s)
	}
	for i, p := range c.parts {
		p.Part, p.More = uint32(i), i < len(c.parts)-1
	}
	return c.parts
}

// part is a snapshot or an attach, or a part of one.
type part[T any] interface {
	comparable
	proto.Message
	GetPart() uint32
	GetMore() bool
	*T
}

// whole puts parts together again.
type whole[T any, P part[T]] struct {
	so   P
	next uint32
}

// add gives the whole when its last part has come; until then it is nil.
func (w *whole[T, P]) add(p P) P {
	switch {
	case p.GetPart() == 0:
		w.so, w.next = p, 1
	case w.so == nil || p.GetPart() != w.next || w.next >= maxParts:
		w.so = nil
		return nil
	default:
		proto.Merge(w.so, p)
		w.next++
	}
	if p.GetMore() {
		return nil
	}
	all := w.so
	w.so = nil
	return all
}
