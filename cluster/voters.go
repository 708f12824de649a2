package cluster

import (
	"cmp"
	"slices"
	"time"

	"github.com/talkd/talkd/store"
)

// Voter counts that cluster.voters may name. More than five make each decision
// slower and outlive nothing that a spare would not.
const (
	minVoters     = 3
	defaultVoters = 5
)

// votingServer is what the choice of voters knows of a server.
type votingServer struct {
	id     store.NodeID
	region string
	voter  bool
	leader bool
	gone   bool      // without a record: removed
	failed bool      // silent for serverFailed
	stable bool      // healthy for long enough to vote
	since  time.Time // when its health changed last
}

// voterChange is one step: nobody is demoted but one, so that never more than a
// minority goes at once, and each step begins from what the one before left.
type voterChange struct {
	promote []store.NodeID
	demote  []store.NodeID
	leader  store.NodeID // who should lead instead
}

// VotersOf is how many of some servers vote when all are well, unless the
// configuration says less.
func VotersOf(servers int) int { return votersOf(servers, defaultVoters) }

func votersOf(servers, most int) int {
	n := min(most, servers)
	if n > 2 && n%2 == 0 {
		n-- // the last is a spare
	}
	return n
}

// chooseVoters is a pure function of what the leader knows.
//
// The number of voters is odd: of four as of three only one may fail, and there
// is one more that can. The fourth server is a spare, which takes the place of a
// voter that fails. Two servers both vote, though only one is needed then to
// stop deciding: what is acknowledged is on both disks, and a cluster of two is
// on its way to three.
//
// A voter that has failed keeps its vote while there is no spare to take its
// place, and while its going would not make the rest outlive more: of three with
// one failed it changes nothing, of five with two failed the three that are left
// can lose another one.
func chooseVoters(servers []votingServer, most int) (change voterChange) {
	var voters, spares []votingServer // spares are those that could vote now
	living, failed := 0, 0
	for _, s := range servers {
		switch {
		case s.voter:
			voters = append(voters, s)
			if s.gone || s.failed {
				failed++
			} else {
				living++
			}
		case s.stable && !s.gone && !s.failed:
			spares = append(spares, s)
		}
	}
	regions := make(map[string]int) // living voters in each
	for _, v := range voters {
		if !v.gone && !v.failed {
			regions[v.region]++
		}
	}
	promote := func() {
		best := slices.MinFunc(spares, func(a, b votingServer) int {
			return cmp.Or(cmp.Compare(regions[a.region], regions[b.region]), a.since.Compare(b.since), cmp.Compare(a.id, b.id))
		})
		regions[best.region]++
		spares = slices.DeleteFunc(spares, func(s votingServer) bool { return s.id == best.id })
		change.promote = append(change.promote, best.id)
	}

	for _, v := range voters {
		if v.gone && v.leader { // it cannot demote itself
			change.leader = successor(voters)
			return change
		}
	}
	if failed > 0 {
		shrinks := living >= minVoters && living%2 == 1
		for _, v := range byUselessness(voters) {
			if v.leader || !v.gone && (!v.failed || len(spares) == 0 && !shrinks) {
				continue
			}
			// The change is committed by a majority of those that are left.
			if rest := len(voters) - 1; living < rest/2+1 {
				continue
			}
			change.demote = append(change.demote, v.id)
			if len(spares) > 0 {
				promote()
			}
			return change
		}
		return change
	}

	want := votersOf(living+len(spares), most)
	switch {
	case living < want:
		for range want - living {
			promote()
		}
	case living > want:
		change.demote = append(change.demote, mostDispensable(voters, regions))
	default:
		// The same number, better spread: the promotion makes one too many, and
		// the next step takes one from the region with most.
		for _, s := range spares {
			for _, n := range regions {
				if regions[s.region]+1 < n {
					change.promote = append(change.promote, s.id)
					return change
				}
			}
		}
	}
	return change
}

// byUselessness puts the removed before the failed.
func byUselessness(voters []votingServer) []votingServer {
	return slices.SortedFunc(slices.Values(voters), func(a, b votingServer) int {
		return cmp.Or(-compareBool(a.gone, b.gone), -compareBool(a.failed, b.failed), cmp.Compare(a.id, b.id))
	})
}

// mostDispensable is a voter of the region that has most, not the leader.
func mostDispensable(voters []votingServer, regions map[string]int) store.NodeID {
	others := slices.DeleteFunc(slices.Clone(voters), func(v votingServer) bool { return v.leader })
	return slices.MinFunc(others, func(a, b votingServer) int {
		return cmp.Or(
			-cmp.Compare(regions[a.region], regions[b.region]),
			compareBool(a.stable, b.stable),
			-a.since.Compare(b.since),
			-cmp.Compare(a.id, b.id),
		)
	}).id
}

// successor is a voter that can lead instead, "" for none.
func successor(voters []votingServer) store.NodeID {
	for _, v := range voters {
		if !v.leader && !v.gone && !v.failed && v.stable {
			return v.id
		}
	}
	return ""
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
