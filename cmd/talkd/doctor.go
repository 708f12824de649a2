package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"unicode"

	"github.com/talkd/talkd/doctor"
	"github.com/talkd/talkd/load/call"
	"github.com/talkd/talkd/store"
)

// errFound makes the exit code that of a failure; the findings say the rest.
var errFound = errors.New("something is broken, see above")

// maxCalled bounds how many addresses media are sent by.
const maxCalled = 16

// doctorFlags are what the operator says.
type doctorFlags struct {
	*adminClient
	urls  []string
	roots *x509.CertPool
	media bool
}

// doctorCommand looks at each hop between people and nodes, and between nodes and
// Nextclouds.
func doctorCommand(ctx context.Context, args []string, out, log io.Writer) error {
	f := flags("doctor", log)
	d := doctorFlags{adminClient: adminFlags(f)}
	d.register(f)
	if _, err := parse(f, args); err != nil {
		return err
	}
	list, err := d.look(ctx)
	if err != nil {
		return err
	}
	if d.json {
		err = printJSON(out, struct {
			Findings []doctor.Finding `json:"findings"`
			Failed   int              `json:"failed"`
			Warnings int              `json:"warnings"`
		}{list, doctor.Count(list, doctor.Failed), doctor.Count(list, doctor.Warning)})
	} else {
		err = printFindings(out, list)
	}
	if err == nil && doctor.Count(list, doctor.Failed) > 0 {
		return errFound
	}
	return err
}

func (d *doctorFlags) register(f *flag.FlagSet) {
	f.Func("url", "look at this `URL` too, as it is entered in Nextcloud; may be repeated", func(s string) error {
		if s == "" {
			return errors.New("write it as https://talk.example.org")
		}
		d.urls = append(d.urls, s)
		return nil
	})
	f.Func("ca", "trust the certificates of this `FILE` (PEM) instead of those of the system", func(file string) error {
		pem, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		d.roots = x509.NewCertPool()
		if !d.roots.AppendCertsFromPEM(pem) {
			return errors.New("no certificate in it; PEM is wanted: -----BEGIN CERTIFICATE-----")
		}
		return nil
	})
	f.BoolVar(&d.media, "media", true, "send voice through the nodes and hear it")
}

// look asks the node first, as the rest goes by what it answers. If none answers, the
// addresses that were given are looked at all the same.
func (d *doctorFlags) look(ctx context.Context) ([]doctor.Finding, error) {
	var cluster clusterView
	var seen doctor.Examination
	err := d.get(ctx, "/admin/v1/cluster", &cluster)
	if err == nil {
		err = d.ask(ctx, http.MethodPost, "/admin/v1/doctor", &seen)
	}
	if err != nil && len(d.urls) == 0 {
		return nil, err
	}
	var list []doctor.Finding
	if err != nil {
		list = append(list, doctor.Finding{Check: doctor.CheckCluster, About: "cluster", Result: doctor.Failed, Text: err.Error()})
	} else {
		list = append(list, clusterFindings(cluster)...)
	}
	addresses := d.addresses(cluster.Nodes, seen.Ticket)
	found := make([][]doctor.Finding, len(addresses))
	var wg sync.WaitGroup
	for i, a := range addresses {
		wg.Go(func() { found[i] = a.Look(ctx) })
	}
	wg.Wait()
	list = append(list, slices.Concat(found...)...)
	plan := d.plan(addresses, found)
	if err != nil {
		return list, ctx.Err()
	}
	list = append(list, nextcloudFindings(seen.Findings)...)
	relays := seen.TURN.Look(ctx, d.roots)
	list = append(list, relays...)
	plan.TURN = seen.TURN.Working(relays)
	switch {
	case !d.media:
	case len(plan.Nodes) == 0:
		list = append(list, doctor.Finding{Check: doctor.CheckMedia, About: "media", Result: doctor.Note, Text: "not tried: no address leads to a node"})
	default:
		plan.Room, plan.Ticket = seen.Room, seen.Ticket
		list = append(list, call.Look(ctx, plan)...)
	}
	return list, ctx.Err()
}

// addresses are those of the nodes that people come to, and those that were given.
func (d *doctorFlags) addresses(nodes []nodeView, ticket string) []doctor.Address {
	var list []doctor.Address
	for _, n := range nodes {
		if n.serves() {
			list = append(list, doctor.Address{URL: n.URL, Node: store.NodeID(n.ID), Ticket: ticket, Roots: d.roots})
		}
	}
	for _, u := range d.urls {
		if !slices.ContainsFunc(list, func(a doctor.Address) bool { return strings.TrimRight(a.URL, "/") == strings.TrimRight(u, "/") }) {
			list = append(list, doctor.Address{URL: u, Ticket: ticket, Roots: d.roots})
		}
	}
	return list
}

// serves tells whether people come to the node.
func (n nodeView) serves() bool {
	return n.URL != "" && (n.State == "alive" || n.State == "draining") && slices.Contains(n.Roles, store.RoleSignaling)
}

// plan is to call by the addresses that a WebSocket opens at.
func (d *doctorFlags) plan(addresses []doctor.Address, found [][]doctor.Finding) call.Plan {
	var p call.Plan
	for i, a := range addresses {
		opens := slices.ContainsFunc(found[i], func(f doctor.Finding) bool { return f.Check == doctor.CheckWebSocket && f.Result != doctor.Failed })
		if opens && len(p.Nodes) < maxCalled {
			p.Nodes = append(p.Nodes, call.Node{Name: cmp.Or(string(a.Node), a.URL), URL: a.Base().String()})
		}
	}
	if d.roots != nil {
		p.HTTP = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: d.roots}}}
	}
	return p
}

// clusterFindings are what talkd cluster status begins with.
func clusterFindings(v clusterView) []doctor.Finding {
	about := doctor.Finding{Check: doctor.CheckCluster, About: "cluster"}
	var list []doctor.Finding
	for _, w := range v.Warnings {
		f := about
		f.Text, f.Do = w.Text, w.Do
		f.Result = map[string]doctor.Result{"error": doctor.Failed, "warning": doctor.Warning}[w.Level]
		if f.Result == "" {
			f.Result = doctor.Note
		}
		list = append(list, f)
	}
	if len(list) == 0 {
		about.Result, about.Text = doctor.OK, fmt.Sprintf("%s, version %s", counted(len(v.Nodes), "node"), versions(v.Nodes))
		list = append(list, about)
	}
	return list
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// nextcloudFindings says so if there are none.
func nextcloudFindings(found []doctor.Finding) []doctor.Finding {
	if len(found) > 0 {
		return found
	}
	return []doctor.Finding{{
		Check: doctor.CheckNextcloud, About: "Nextcloud", Result: doctor.Note,
		Text: "none is served", Do: "talkd backend add https://cloud.example.org",
	}}
}

// seenBy is a finding, and which nodes have it.
type seenBy struct {
	doctor.Finding
	nodes []string
}

// merge has what several nodes have found alike once.
func merge(list []doctor.Finding) []seenBy {
	var merged []seenBy
	at := make(map[doctor.Finding]int)
	for _, f := range list {
		same := f
		same.From = ""
		i, known := at[same]
		if !known {
			i = len(merged)
			at[same] = i
			merged = append(merged, seenBy{Finding: same})
		}
		if f.From != "" {
			merged[i].nodes = append(merged[i].nodes, f.From)
		}
	}
	return merged
}

// printFindings lists what was found, by what it is about.
func printFindings(out io.Writer, list []doctor.Finding) error {
	var abouts []string
	byAbout := make(map[string][]seenBy)
	counts := make(map[doctor.Result]int)
	for _, f := range merge(list) {
		if byAbout[f.About] == nil {
			abouts = append(abouts, f.About)
		}
		byAbout[f.About] = append(byAbout[f.About], f)
		counts[f.Result]++
	}
	for _, about := range abouts {
		fmt.Fprintln(out, about)
		for _, f := range byAbout[about] {
			f.print(out)
		}
	}
	_, err := fmt.Fprintf(out, "\n%d failed, %s\n", counts[doctor.Failed], counted(counts[doctor.Warning], "warning"))
	return err
}

func (f seenBy) print(out io.Writer) {
	result, seen := string(f.Result), ""
	if f.Result == doctor.Failed {
		result = "FAILED"
	}
	if len(f.nodes) > 0 {
		seen = " (seen from " + strings.Join(f.nodes, ", ") + ")"
	}
	fmt.Fprintf(out, "  %-8s %-12s %s%s\n", result, f.Check, printable(f.Text), seen)
	if f.Do != "" {
		fmt.Fprintf(out, "  %-8s %-12s -> %s\n", "", "", printable(f.Do))
	}
}

// printable keeps what strangers have said from ruling the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, s)
}
