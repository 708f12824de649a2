package api

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Warning says in plain words what is wrong and what to do about it. The
// commands, the dashboard and scripts show the same ones.
type Warning struct {
	Code  string       `json:"code"` // of a kind of trouble, for scripts
	Level WarningLevel `json:"level"`
	Text  string       `json:"text"`
	Do    string       `json:"do,omitempty"`
}

// WarningLevel is how bad it is.
type WarningLevel string

// Levels of warnings.
const (
	LevelError   WarningLevel = "error"   // something does not work
	LevelWarning WarningLevel = "warning" // the next failure will hurt
	LevelInfo    WarningLevel = "info"    // it is under way
)

// When a node's condition is worth a warning.
const (
	diskFreeShare    = 0.05
	diskFreeBytes    = 512 << 20
	clockOffset      = 500 * time.Millisecond
	certificateLeft  = 5 * 24 * time.Hour // it is renewed ten days before its end
	headroomLowShare = 0.15
)

// warnings are ordered: what is worst comes first.
func warnings(v ClusterView) []Warning {
	var all []Warning
	for _, look := range []func(ClusterView) []Warning{
		quorumWarnings, nodeWarnings, versionWarnings, roomWarnings, conditionWarnings,
	} {
		all = append(all, look(v)...)
	}
	rank := map[WarningLevel]int{LevelError: 0, LevelWarning: 1, LevelInfo: 2}
	slices.SortStableFunc(all, func(a, b Warning) int { return rank[a.Level] - rank[b.Level] })
	return all
}

func quorumWarnings(v ClusterView) []Warning {
	down := named(v, func(n NodeView) bool { return n.Raft == "voter" && n.State == "dead" })
	back := "look why the voters do not reach each other"
	if len(down) > 0 {
		back = "start " + list(down) + " again with the same command line"
	}
	switch {
	case !v.Quorum && v.VotersAlive > v.Voters/2 && v.Leader == "":
		return []Warning{{
			"no_leader", LevelError, "There is no leader at the moment. Calls go on, rooms are not placed and nothing is changed.",
			"wait some seconds; if it lasts, look at the logs of the voters",
		}}
	case !v.Quorum:
		return []Warning{{
			"no_quorum", LevelError,
			fmt.Sprintf("No quorum: %d of %d voters alive. Calls go on, rooms are not placed and nothing is changed.", v.VotersAlive, v.Voters),
			back,
		}}
	case v.Voters > 1 && v.FailureTolerance == 0:
		text := fmt.Sprintf("%d of %d voters alive: if one more fails, rooms are not placed and nothing is changed.", v.VotersAlive, v.Voters)
		switch {
		case len(down) > 0:
		case v.Voters < 3:
			back = "add a third node: talkd join-token create"
		default:
			back = "a voter does not keep up: if it lasts, look at the logs of the voters"
		}
		return []Warning{{"quorum_at_risk", LevelWarning, text, back}}
	}
	return nil
}

func nodeWarnings(v ClusterView) []Warning {
	var all []Warning
	if dead := named(v, func(n NodeView) bool { return n.State == "dead" && !n.Pending }); len(dead) > 0 {
		all = append(all, Warning{
			"node_dead", LevelWarning, list(dead) + " " + isAre(dead) + " dead.",
			"start " + itThem(dead) + " again with the same command line; gone for good: talkd cluster remove NODE",
		})
	}
	if suspect := named(v, func(n NodeView) bool { return n.State == "suspect" }); len(suspect) > 0 {
		all = append(all, Warning{
			"node_suspect", LevelWarning, list(suspect) + " " + isAre(suspect) + " suspect: nothing was heard for some seconds.",
			"look whether the process hangs or the network loses packets",
		})
	}
	for _, n := range v.Nodes {
		if n.Overload != nil {
			all = append(all, Warning{
				"node_overloaded", LevelError,
				fmt.Sprintf("%s is overloaded, %s: %s.", n.ID, n.Overload.Cause(), n.Overload),
				"add a node (talkd join-token create) and move rooms there: talkd cluster move ROOM NODE",
			})
		}
		if n.State == "draining" {
			all = append(all, Warning{
				"node_draining", LevelInfo,
				fmt.Sprintf("%s is draining: %s and %s left.", n.ID, Count(n.Load.Rooms, "room"), Count(n.Load.Sessions, "session")),
				"when nobody is left, stop it, or take it back: talkd cluster undrain " + n.ID,
			})
		}
	}
	return all
}

func versionWarnings(v ClusterView) []Warning {
	at := map[string][]string{}
	for _, n := range v.Nodes {
		if n.State != "dead" {
			at[n.Version] = append(at[n.Version], n.ID)
		}
	}
	if len(at) < 2 {
		return nil
	}
	var parts []string
	for version, nodes := range at {
		parts = append(parts, version+" on "+list(nodes))
	}
	slices.Sort(parts)
	return []Warning{{
		"versions_mixed", LevelWarning, "Versions are mixed: " + strings.Join(parts, "; ") + ".",
		"that is right during an upgrade: bring the others up to the same version",
	}}
}

// roomWarnings tell whether there is room for more.
func roomWarnings(v ClusterView) []Warning {
	takes, streams := 0, 0
	for _, n := range v.Nodes {
		if n.TakesRooms {
			takes++
			streams += n.Load.Subscribers
		}
	}
	switch {
	case len(v.Nodes) > 0 && takes == 0:
		return []Warning{{
			"no_room", LevelError, "No node takes new rooms: all are dead, draining or full.",
			"start another node, or take one back: talkd cluster undrain NODE",
		}}
	case v.Headroom > 0 && float64(v.Headroom) < headroomLowShare*float64(v.Headroom+streams):
		return []Warning{{
			"headroom_low", LevelWarning, fmt.Sprintf("Room for %s only.", Count(v.Headroom, "more stream")),
			"add a node: talkd join-token create",
		}}
	}
	return nil
}

func conditionWarnings(v ClusterView) []Warning {
	var all []Warning
	for _, n := range v.Nodes {
		h := n.Health
		if h == nil {
			continue
		}
		if h.DiskSizeBytes > 0 && (h.DiskFreeBytes < diskFreeBytes || float64(h.DiskFreeBytes) < diskFreeShare*float64(h.DiskSizeBytes)) {
			all = append(all, Warning{
				"disk_low", LevelWarning, fmt.Sprintf("The disk of %s has %d MiB left.", n.ID, h.DiskFreeBytes>>20),
				"make room where its data directory lies; a node that cannot write stops",
			})
		}
		offset := time.Duration(h.ClockOffsetS * float64(time.Second))
		if offset.Abs() > clockOffset {
			all = append(all, Warning{
				"clock_off", LevelWarning,
				fmt.Sprintf("The clock of %s differs by %v from that of the node that you ask.", n.ID, offset.Round(10*time.Millisecond)),
				"have both keep time by NTP: tickets and certificates depend on it",
			})
		}
		if left := time.Until(h.CertificateExpires); !h.CertificateExpires.IsZero() && left < certificateLeft {
			all = append(all, Warning{
				"certificate_expires", LevelWarning,
				fmt.Sprintf("The certificate of %s expires at %s and was not renewed.", n.ID, h.CertificateExpires.UTC().Format(time.RFC3339)),
				"its log says why; the leader must be reachable",
			})
		}
	}
	return all
}

func named(v ClusterView, which func(NodeView) bool) []string {
	var ids []string
	for _, n := range v.Nodes {
		if which(n) {
			ids = append(ids, n.ID)
		}
	}
	return ids
}

// list writes names for people, not more than they read.
func list(names []string) string {
	const most = 5
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

func isAre(names []string) string {
	if len(names) == 1 {
		return "is"
	}
	return "are"
}

func itThem(names []string) string {
	if len(names) == 1 {
		return "it"
	}
	return "them"
}

// Count writes a number of things for people.
func Count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
