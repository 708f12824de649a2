package cluster

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/talkd/talkd/store"
)

// leaderless is ErrNoQuorum, with what is missing, when this node has had no
// contact for so long that a leader would have been elected if one could be:
// whoever waits for a decision is told at once. nil: it is worth waiting.
func (c *Cluster) leaderless(now time.Time) error {
	since := c.started
	if last := c.renewed.Load(); last != nil {
		since = *last
	}
	silent := now.Sub(since)
	if silent < leaderPatience {
		return nil
	}
	return fmt.Errorf("%w: %s, for %s", ErrNoQuorum, c.missing(), silent.Round(time.Second))
}

// missing says in words why there is no leader, as far as this node can see.
func (c *Cluster) missing() string {
	voters := 0
	var lost []string
	for _, s := range c.servers() {
		if s.Suffrage != raft.Voter {
			continue
		}
		voters++
		if !c.gossip.sees(store.NodeID(s.ID)) {
			lost = append(lost, string(s.ID))
		}
	}
	slices.Sort(lost)
	need := voters/2 + 1
	if voters-len(lost) < need {
		return fmt.Sprintf("%d of %d voters are missing (%s), %d are needed", len(lost), voters, strings.Join(lost, ", "), need)
	}
	return "no leader is in reach of this node"
}
