package media

import "sync/atomic"

// GroupCounters are the figures of one Group on this node.
type GroupCounters struct {
	Group       string
	Publishers  int
	Subscribers int
	PacketsIn   uint64
	BytesIn     uint64
	PacketsOut  uint64
	BytesOut    uint64
}

// traffic counts the packets of one group.
type traffic struct {
	packetsIn, bytesIn, packetsOut, bytesOut atomic.Uint64
}

func (t *traffic) in(packets, bytes int) {
	t.packetsIn.Add(uint64(packets))
	t.bytesIn.Add(uint64(bytes))
}

func (t *traffic) out(packets, bytes int) {
	t.packetsOut.Add(uint64(packets))
	t.bytesOut.Add(uint64(bytes))
}
