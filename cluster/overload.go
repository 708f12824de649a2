package cluster

// OverloadReason is what a node has too little of.
type OverloadReason string

// Reasons of an overload, from the plainest to what only shows.
const (
	OverloadCPU    OverloadReason = "cpu"    // it uses nearly all of its cores
	OverloadEgress OverloadReason = "egress" // it sends more than it may
	OverloadLoss   OverloadReason = "loss"   // packets find no room in it
	OverloadDelay  OverloadReason = "delay"  // packets wait in it
)

// Overload is what a node leaves out since it has not the strength for all. The
// zero value: nothing.
type Overload struct {
	Reason  OverloadReason `json:"reason"`
	Since   int64          `json:"since"`   // Unix seconds
	Streams int            `json:"streams"` // of video that its subscribers want
	Lowered int            `json:"lowered"` // of them, those that get a worse layer
	Paused  int            `json:"paused"`  // of them, those that get nothing
}

// Overloaded tells whether a node leaves anything out.
func (l Load) Overloaded() bool { return l.Overload.Reason != "" }
