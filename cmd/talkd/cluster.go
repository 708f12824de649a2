package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"
)

// What the admin API answers, as far as the tables show it.
type (
	clusterView struct {
		ClusterID string     `json:"cluster_id"`
		Leader    string     `json:"leader"`
		Term      uint64     `json:"term"`
		Commit    uint64     `json:"commit_index"`
		Quorum    bool       `json:"quorum"`
		Rooms     int        `json:"rooms"`
		Sessions  int        `json:"sessions"`
		Version   string     `json:"version"`
		Nodes     []nodeView `json:"nodes"`
	}
	nodeView struct {
		ID      string  `json:"id"`
		URL     string  `json:"url"`
		Region  string  `json:"region"`
		Version string  `json:"version"`
		Raft    string  `json:"raft"`
		State   string  `json:"state"`
		Uptime  float64 `json:"uptime_s"`
		Load    struct {
			CPU         float64 `json:"cpu"`
			Egress      float64 `json:"egress_bps"`
			Ingress     float64 `json:"ingress_bps"`
			Sessions    int     `json:"sessions"`
			Publishers  int     `json:"publishers"`
			Subscribers int     `json:"subscribers"`
			Rooms       int     `json:"rooms"`
		} `json:"load"`
	}
	roomView struct {
		ID      string    `json:"id"`
		Home    string    `json:"home"`
		Epoch   uint64    `json:"epoch"`
		Created time.Time `json:"created"`
		Edges   []struct {
			Node        string `json:"node"`
			Sessions    int    `json:"sessions"`
			Publishers  int    `json:"publishers"`
			Subscribers int    `json:"subscribers"`
		} `json:"edges"`
		Relays []struct {
			From   string  `json:"from"`
			To     string  `json:"to"`
			Tracks int     `json:"tracks"`
			Bps    float64 `json:"bps"`
			Lost   uint64  `json:"lost"`
		} `json:"relays"`
	}
	eventView struct {
		At     time.Time `json:"at"`
		Kind   string    `json:"kind"`
		Room   string    `json:"room"`
		Node   string    `json:"node"`
		Home   string    `json:"home"`
		Epoch  uint64    `json:"epoch"`
		Detail string    `json:"detail"`
	}
)

func clusterCommand(ctx context.Context, args []string, out, log io.Writer) error {
	if len(args) == 0 {
		return usage("cluster status | rooms | room ROOM | events")
	}
	f := flags("cluster "+args[0], log)
	c := adminFlags(f)
	switch args[0] {
	case "status":
		if _, err := parse(f, args[1:]); err != nil {
			return err
		}
		var v clusterView
		if done, err := c.call(ctx, http.MethodGet, "/admin/v1/cluster", nil, &v, out); done || err != nil {
			return err
		}
		return printCluster(out, v)
	case "rooms":
		if _, err := parse(f, args[1:]); err != nil {
			return err
		}
		var v struct {
			Rooms []roomView `json:"rooms"`
		}
		if done, err := c.call(ctx, http.MethodGet, "/admin/v1/rooms", nil, &v, out); done || err != nil {
			return err
		}
		return printRooms(out, v.Rooms)
	case "room":
		operands, err := parse(f, args[1:], "ROOM")
		if err != nil {
			return err
		}
		var v roomView
		if done, err := c.call(ctx, http.MethodGet, "/admin/v1/rooms/"+url.PathEscape(operands[0]), nil, &v, out); done || err != nil {
			return err
		}
		return printRoom(out, v)
	case "events":
		if _, err := parse(f, args[1:]); err != nil {
			return err
		}
		return followEvents(ctx, c, out)
	default:
		return usage("cluster %q: status, rooms, room ROOM or events", args[0])
	}
}

func table(out io.Writer, rows func(w io.Writer)) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	rows(w)
	return w.Flush()
}

func printCluster(out io.Writer, v clusterView) error {
	quorum := "has a quorum"
	if !v.Quorum {
		quorum = "HAS NO QUORUM: calls go on, new rooms are refused"
	}
	leader := v.Leader
	if leader == "" {
		leader = "none"
	}
	fmt.Fprintf(out, "Cluster %s %s. Leader %s, term %d, index %d. %d rooms, %d sessions.\n\n",
		v.ClusterID, quorum, leader, v.Term, v.Commit, v.Rooms, v.Sessions)
	return table(out, func(w io.Writer) {
		fmt.Fprintln(w, "NODE\tSTATE\tRAFT\tREGION\tCPU\tOUT\tIN\tROOMS\tSESSIONS\tPUB\tSUB\tUP\tVERSION\tURL")
		for _, n := range v.Nodes {
			raft := n.Raft
			if n.ID == v.Leader {
				raft = "leader"
			}
			l := n.Load
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%.0f %%\t%s\t%s\t%d\t%d\t%d\t%d\t%s\t%s\t%s\n",
				n.ID, n.State, raft, dash(n.Region), l.CPU*100, bits(l.Egress), bits(l.Ingress),
				l.Rooms, l.Sessions, l.Publishers, l.Subscribers, uptime(n.Uptime), n.Version, n.URL)
		}
	})
}

func printRooms(out io.Writer, rooms []roomView) error {
	return table(out, func(w io.Writer) {
		fmt.Fprintln(w, "ROOM\tHOME\tEPOCH\tSINCE\tSESSIONS\tNODES\tRELAYED TRACKS")
		for _, r := range rooms {
			sessions, nodes, tracks := 0, make([]string, 0, len(r.Edges)), 0
			for _, e := range r.Edges {
				sessions += e.Sessions
				nodes = append(nodes, fmt.Sprintf("%s:%d", e.Node, e.Sessions))
			}
			for _, l := range r.Relays {
				tracks += l.Tracks
			}
			fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%d\t%s\t%d\n", r.ID, r.Home, r.Epoch,
				r.Created.Local().Format(time.DateTime), sessions, dash(strings.Join(nodes, " ")), tracks)
		}
	})
}

func printRoom(out io.Writer, r roomView) error {
	fmt.Fprintf(out, "Room %s: home %s, epoch %d, since %s\n\n", r.ID, r.Home, r.Epoch, r.Created.Local().Format(time.DateTime))
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

// followEvents prints one line per event until the node or the user ends it.
func followEvents(ctx context.Context, c *adminClient, out io.Writer) error {
	stream, err := c.do(ctx, http.MethodGet, "/admin/v1/events", nil)
	if err != nil {
		return err
	}
	defer stream.Close()
	lines := bufio.NewScanner(stream)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		if c.json {
			fmt.Fprintln(out, data)
			continue
		}
		var e eventView
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			return fmt.Errorf("the node sent no event: %w", err)
		}
		fmt.Fprintln(out, eventLine(e))
	}
	if ctx.Err() != nil {
		return nil
	}
	return lines.Err()
}

func eventLine(e eventView) string {
	line := e.At.Local().Format(time.TimeOnly) + "  " + e.Kind
	for _, f := range []struct{ key, value string }{{"room", e.Room}, {"node", e.Node}, {"home", e.Home}} {
		if f.value != "" {
			line += "  " + f.key + "=" + f.value
		}
	}
	if e.Epoch != 0 {
		line += fmt.Sprintf("  epoch=%d", e.Epoch)
	}
	if e.Detail != "" {
		line += "  " + e.Detail
	}
	return line
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
