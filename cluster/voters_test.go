package cluster

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/talkd/talkd/store"
)

// parseServers reads "a*@eu b@us- c!": * leads, + votes, - is not stable yet, !
// has failed, x was removed; @ names the region.
func parseServers(text string) []votingServer {
	var servers []votingServer
	for i, word := range strings.Fields(text) {
		s := votingServer{id: store.NodeID(word[:1]), stable: true, since: time.Unix(int64(i), 0)}
		word, s.region, _ = strings.Cut(word, "@")
		for _, mark := range word[1:] {
			switch mark {
			case '*':
				s.leader, s.voter = true, true
			case '+':
				s.voter = true
			case '-':
				s.stable = false
			case '!':
				s.failed, s.stable = true, false
			case 'x':
				s.gone, s.stable = true, false
			}
		}
		servers = append(servers, s)
	}
	return servers
}

func (c voterChange) String() string {
	var words []string
	for _, id := range c.promote {
		words = append(words, "+"+string(id))
	}
	for _, id := range c.demote {
		words = append(words, "-"+string(id))
	}
	if c.leader != "" {
		words = append(words, "*"+string(c.leader))
	}
	return strings.Join(words, " ")
}

func TestChooseVoters(t *testing.T) {
	for _, c := range []struct{ name, servers, want string }{
		{"alone", "a*", ""},
		{"the second votes", "a* b", "+b"},
		{"but not before it is stable", "a* b-", ""},
		{"the third votes", "a* b+ c", "+c"},
		{"two at once", "a* b c", "+b +c"},
		{"the fourth is a spare", "a* b+ c+ d", ""},
		{"four at once", "a* b c d", "+b +c"},
		{"five vote", "a* b+ c+ d e", "+d +e"},
		{"six: a spare", "a* b+ c+ d+ e+ f", ""},
		{"one too many", "a* b+ c+ d+", "-d"},
		{"too many", "a* b+ c+ d+ e+ f+ g+", "-g"},

		{"failed, no spare", "a* b+! c+", ""},
		{"failed, the spare is not stable", "a* b+! c+ d-", ""},
		{"failed, a spare", "a* b+! c+ d", "+d -b"},
		{"failed, two spares", "a* b+! c+ d e", "+d -b"},
		{"one of five failed", "a* b+! c+ d+ e+", ""},
		{"two of five failed", "a* b+! c+! d+ e+", "-b"},
		{"the rest of that", "a* b! c+! d+ e+", "-c"},
		{"two of five failed, one spare", "a* b+! c+! d+ e+ f", "+f -b"},
		{"one of two failed", "a* b+!", ""},
		{"no majority", "a* b+! c+! d", ""},
		{"a failed spare is nothing", "a* b+ c+ d!", ""},

		{"removed", "a* b+x c+", "-b"},
		{"removed before failed", "a* b+! c+x d+ e+", "-c"},
		{"removed, would cost the majority", "a* b+x c+! ", ""},
		{"removed of two", "a* b+x", "-b"},
		{"the leader was removed", "a*x b+ c+", "*b"},
		{"the leader was removed, and nobody can lead", "a*x b+!", ""},
		{"a removed spare", "a* b+ c+ dx", ""},

		{"regions: the far one first", "a*@eu b@eu c@us d@eu", "+c +b"},
		{"regions: swapped", "a*@eu b+@eu c+@eu d@us", "+d"},
		{"regions: the second step of that", "a*@eu b+@eu c+@eu d+@us", "-c"},
		{"regions: no better", "a*@eu b+@eu c+@us d@us", ""},
		{"regions: three are better than two", "a*@eu b+@eu c+@us d@ap", "+d"},
		{"regions: a spare far away takes over", "a*@eu b+!@eu c+@us d@us e@ap", "+e -b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := chooseVoters(parseServers(c.servers), defaultVoters).String(); got != c.want {
				t.Errorf("%q: %q, want %q", c.servers, got, c.want)
			}
		})
	}
	if got := chooseVoters(parseServers("a* b+ c+ d e"), minVoters).String(); got != "" {
		t.Errorf("three voters are enough, but %q", got)
	}
}

// apply makes the change, as Raft would.
func (c voterChange) apply(servers []votingServer) {
	for i := range servers {
		s := &servers[i]
		if slices.Contains(c.promote, s.id) {
			s.voter = true
		}
		if slices.Contains(c.demote, s.id) {
			s.voter = false
		}
	}
}

// Whatever happens to servers, a majority that was there is never given away,
// and the choice comes to rest.
func TestVotersKeepTheMajority(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		most := []int{minVoters, defaultVoters}[r.IntN(2)]
		servers := []votingServer{{id: "s0", voter: true, leader: true, stable: true, region: "r0"}}
		count := func() (voters, living int) {
			for _, s := range servers {
				if s.voter {
					voters++
					if !s.failed && !s.gone {
						living++
					}
				}
			}
			return voters, living
		}
		for step := range 300 {
			// What happens: somebody comes, fails, comes back, is removed.
			switch i := r.IntN(len(servers)); r.IntN(6) {
			case 0:
				if len(servers) < 9 {
					servers = append(servers, votingServer{
						id: store.NodeID(fmt.Sprintf("s%d", step+1)), region: fmt.Sprintf("r%d", r.IntN(3)), since: time.Unix(int64(step), 0),
					})
				}
			case 1:
				voters, living := count()
				if s := &servers[i]; !s.leader && !s.failed && (!s.voter || living-1 > voters/2) {
					s.failed, s.stable = true, false
				}
			case 2:
				servers[i].failed = false
			case 3:
				servers[i].stable = !servers[i].failed && !servers[i].gone
			case 4:
				voters, living := count()
				s := &servers[i]
				if rest := voters - 1; !s.leader && (!s.voter || s.failed || living-1 >= rest/2+1) && r.IntN(3) == 0 {
					s.gone, s.stable = true, false
				}
			}
			for round := 0; ; round++ {
				change := chooseVoters(servers, most)
				if change.String() == "" {
					break
				}
				if round > 20 {
					t.Fatalf("seed %d: no rest, at last %s of %+v", seed, change, servers)
				}
				if len(change.demote) > 1 {
					t.Fatalf("seed %d: %d demoted at once", seed, len(change.demote))
				}
				// One after the other, each committed by a majority of what it makes.
				for _, id := range change.demote {
					voterChange{demote: []store.NodeID{id}}.apply(servers)
					if voters, living := count(); living <= voters/2 {
						t.Fatalf("seed %d: %d of %d voters live after %s", seed, living, voters, change)
					}
				}
				for _, id := range change.promote {
					voterChange{promote: []store.NodeID{id}}.apply(servers)
					if voters, living := count(); living <= voters/2 {
						t.Fatalf("seed %d: %d of %d voters live after %s", seed, living, voters, change)
					}
				}
			}
			// Who was removed and votes no more is taken out of Raft.
			servers = slices.DeleteFunc(servers, func(s votingServer) bool { return s.gone && !s.voter })
			voters, living := count()
			spares := 0
			for _, s := range servers {
				if !s.voter && s.stable && !s.failed && !s.gone {
					spares++
				}
			}
			if voters > most || voters == living && voters > 2 && voters%2 == 0 {
				t.Fatalf("seed %d: %d voters at rest", seed, voters)
			}
			if voters > living && spares > 0 {
				t.Fatalf("seed %d: %d of %d voters live, with %d spares: %+v", seed, living, voters, spares, servers)
			}
		}
	}
}
