package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// What the admin API answers, as far as the tables show it.
type (
	clusterView struct {
		ClusterID   string        `json:"cluster_id"`
		Leader      string        `json:"leader"`
		Term        uint64        `json:"term"`
		Commit      uint64        `json:"commit_index"`
		Applied     uint64        `json:"applied_index"`
		Quorum      bool          `json:"quorum"`
		Voters      int           `json:"voters"`
		VotersAlive int           `json:"voters_alive"`
		Tolerance   int           `json:"failure_tolerance"`
		Rooms       int           `json:"rooms"`
		Sessions    int           `json:"sessions"`
		Headroom    int           `json:"headroom"`
		Version     string        `json:"version"`
		Nodes       []nodeView    `json:"nodes"`
		NodesTotal  int           `json:"nodes_total"`
		Warnings    []warningView `json:"warnings"`
	}
	warningView struct {
		Level string `json:"level"`
		Text  string `json:"text"`
		Do    string `json:"do"`
	}
	nodeView struct {
		ID      string   `json:"id"`
		URL     string   `json:"url"`
		Region  string   `json:"region"`
		Version string   `json:"version"`
		Raft    string   `json:"raft"`
		State   string   `json:"state"`
		Roles   []string `json:"roles"`
		Uptime  float64  `json:"uptime_s"`
		// Overload is there when the node leaves out video.
		Overload *struct{} `json:"overload"`
		Load     struct {
			CPU         float64 `json:"cpu"`
			Egress      float64 `json:"egress_bps"`
			Ingress     float64 `json:"ingress_bps"`
			Sessions    int     `json:"sessions"`
			Publishers  int     `json:"publishers"`
			Subscribers int     `json:"subscribers"`
			Rooms       int     `json:"rooms"`
			Headroom    int     `json:"headroom"`
		} `json:"load"`
	}
	roomView struct {
		ID      string      `json:"id"`
		Backend string      `json:"backend"`
		Home    string      `json:"home"`
		Epoch   uint64      `json:"epoch"`
		Reason  string      `json:"reason,omitempty"`
		Created time.Time   `json:"created"`
		Edges   []edgeView  `json:"edges"`
		Relays  []relayView `json:"relays"`
	}
	edgeView struct {
		Node        string `json:"node"`
		Sessions    int    `json:"sessions"`
		Publishers  int    `json:"publishers"`
		Subscribers int    `json:"subscribers"`
	}
	relayView struct {
		From   string  `json:"from"`
		To     string  `json:"to"`
		Tracks int     `json:"tracks"`
		Bps    float64 `json:"bps"`
		Lost   uint64  `json:"lost"`
	}
)

func table(out io.Writer, rows func(w io.Writer)) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	rows(w)
	return w.Flush()
}

func printCluster(out io.Writer, v clusterView) error {
	err := table(out, func(w io.Writer) {
		fmt.Fprintf(w, "Cluster\t%s, %s\n", v.ClusterID, verdict(v))
		fmt.Fprintf(w, "Leader\t%s, term %d, index %d of %d\n", orNone(v.Leader), v.Term, v.Applied, v.Commit)
		fmt.Fprintf(w, "Quorum\t%s\n", quorum(v))
		fmt.Fprintf(w, "Load\trooms %d, sessions %d, headroom %d streams\n", v.Rooms, v.Sessions, v.Headroom)
		fmt.Fprintf(w, "Version\t%s\n", versions(v.Nodes))
	})
	if err != nil {
		return err
	}
	for _, warning := range v.Warnings {
		fmt.Fprintf(out, "\n%s: %s\n", strings.ToUpper(warning.Level), warning.Text)
		if warning.Do != "" {
			fmt.Fprintf(out, "  → %s\n", warning.Do)
		}
	}
	fmt.Fprintln(out)
	err = table(out, func(w io.Writer) {
		fmt.Fprintln(w, "NODE\tSTATE\tRAFT\tREGION\tCPU\tOUT\tIN\tROOMS\tSESSIONS\tPUB\tSUB\tHEADROOM\tUP\tVERSION\tURL")
		for _, n := range v.Nodes {
			raft := n.Raft
			if n.ID == v.Leader {
				raft = "leader"
			}
			state := n.State
			if n.Overload != nil {
				state += ", overloaded"
			}
			l := n.Load
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%.0f %%\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t%s\n",
				n.ID, state, raft, dash(n.Region), l.CPU*100, bits(l.Egress), bits(l.Ingress),
				l.Rooms, l.Sessions, l.Publishers, l.Subscribers, l.Headroom, uptime(n.Uptime), n.Version, n.URL)
		}
	})
	if more := v.NodesTotal - len(v.Nodes); more > 0 {
		fmt.Fprintf(out, "… and %d more nodes\n", more)
	}
	return err
}

// verdict is the one word that somebody in a hurry reads.
func verdict(v clusterView) string {
	worst := "healthy"
	for _, w := range v.Warnings {
		switch w.Level {
		case "error":
			return "IN TROUBLE"
		case "warning":
			worst = "needs a look"
		}
	}
	return worst
}

// quorum says how many voters may still fail.
func quorum(v clusterView) string {
	alive := fmt.Sprintf("%d of %d voters alive", v.VotersAlive, v.Voters)
	switch {
	case !v.Quorum:
		return "NONE, " + alive
	case v.Tolerance == 0:
		return alive + "; one more may fail: no"
	case v.Tolerance == 1:
		return alive + "; one more may fail: yes"
	}
	return fmt.Sprintf("%s; %d more may fail", alive, v.Tolerance)
}

func versions(nodes []nodeView) string {
	at := map[string][]string{}
	for _, n := range nodes {
		at[n.Version] = append(at[n.Version], n.ID)
	}
	if len(nodes) == 0 {
		return "unknown"
	}
	if len(at) == 1 {
		return nodes[0].Version + " on all nodes"
	}
	var parts []string
	for version, ids := range at {
		if len(ids) > 3 {
			ids = append(ids[:3:3], fmt.Sprintf("%d more", len(ids)-3))
		}
		parts = append(parts, version+" on "+strings.Join(ids, ", "))
	}
	slices.Sort(parts)
	return "mixed: " + strings.Join(parts, "; ")
}

func printRooms(out io.Writer, rooms []roomView) error {
	return table(out, func(w io.Writer) {
		fmt.Fprintln(w, "ROOM\tHOME\tEPOCH\tWHY\tSINCE\tSESSIONS\tNODES\tRELAYED TRACKS")
		for _, r := range rooms {
			sessions, nodes, tracks := 0, make([]string, 0, len(r.Edges)), 0
			for _, e := range r.Edges {
				sessions += e.Sessions
				nodes = append(nodes, fmt.Sprintf("%s:%d", e.Node, e.Sessions))
			}
			for _, l := range r.Relays {
				tracks += l.Tracks
			}
			fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%d\t%s\t%d\n", r.ID, r.Home, r.Epoch, dash(r.Reason),
				r.Created.Local().Format(time.DateTime), sessions, dash(strings.Join(nodes, " ")), tracks)
		}
	})
}

func printRoom(out io.Writer, r roomView) error {
	fmt.Fprintf(out, "Room %s: home %s (%s), epoch %d, since %s\n\n", r.ID, r.Home, why(r.Reason), r.Epoch, r.Created.Local().Format(time.DateTime))
	err := table(out, func(w io.Writer) {
		fmt.Fprintln(w, "EDGE\tSESSIONS\tPUBLISHERS\tSUBSCRIBERS")
		for _, e := range r.Edges {
			fmt.Fprintf(w, "%s\t%d\t%d\t%d\n", e.Node, e.Sessions, e.Publishers, e.Subscribers)
		}
	})
	if err != nil || len(r.Relays) == 0 {
		return err
	}
	fmt.Fprintln(out)
	return table(out, func(w io.Writer) {
		fmt.Fprintln(w, "RELAY\tTRACKS\tRATE\tLOST")
		for _, l := range r.Relays {
			fmt.Fprintf(w, "%s → %s\t%d\t%s\t%d\n", l.From, l.To, l.Tracks, bits(l.Bps), l.Lost)
		}
	})
}

// why a room is where it is.
func why(reason string) string {
	switch reason {
	case "anew":
		return "placed anew, the home before was silent"
	case "move":
		return "moved there by an operator"
	case "drain":
		return "moved there, the home before drains"
	}
	return "since it began"
}

func bits(bps float64) string {
	for _, unit := range []string{"bit/s", "kbit/s", "Mbit/s"} {
		if bps < 999.5 { // what would be rounded to 1000 belongs to the next unit
			return fmt.Sprintf("%.3g %s", bps, unit)
		}
		bps /= 1000
	}
	return fmt.Sprintf("%.3g Gbit/s", bps)
}

func uptime(seconds float64) string {
	d := time.Duration(seconds) * time.Second
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	case d >= time.Hour:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return d.String()
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
