package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/talkd/talkd/load/bench"
	"github.com/talkd/talkd/load/plan"
)

const benchWords = "webinar | meetings | team"

// benchCommand brings people who really send and receive to running nodes.
func benchCommand(ctx context.Context, args []string, out, log io.Writer) error {
	if len(args) == 0 {
		return usage("bench %s", benchWords)
	}
	f := flags("bench "+args[0], log)
	var scenario func() bench.Scenario
	peers := false
	switch args[0] {
	case "webinar":
		n := f.Int("participants", 100, "people, one of whom shows himself")
		screen := f.Bool("screen", false, "and shares a screen")
		microphones := f.Bool("microphones", false, "all others have open microphones")
		scenario = func() bench.Scenario { return bench.Webinar(*n, *screen, *microphones) }
	case "meetings":
		meetings := f.Int("meetings", 500, "meetings at the same time")
		n := f.Int("participants", 3, "people in each, all with cameras")
		scenario = func() bench.Scenario { return bench.Many(*meetings, *n) }
	case "team":
		n := f.Int("participants", 50, "people, all with cameras")
		f.BoolVar(&peers, "peer-to-peer", false, "instead, compare what people upload through the nodes with what they would without, from two people on")
		scenario = func() bench.Scenario { return bench.Team(*n) }
	default:
		return usage("bench %q: %s", args[0], benchWords)
	}
	c := adminFlags(f)
	cfg := benchFlags(f)
	var account string
	secretFlag(f, &account, "user", "TALKD_BENCH_USER", "`NAME:PASSWORD` of an account of the embedded backend: people are guests of conversations that it makes and deletes (TALKD_BENCH_USER); without it they come by tickets of the admin API, whatever the nodes serve")
	probes := []bench.Probe{probe(c)}
	f.Func("node", "ask this node's admin listener for its use, too: `URL=TOKEN`; may be repeated", func(s string) error {
		base, token, ok := strings.Cut(s, "=")
		if !ok || base == "" || token == "" {
			return errors.New("URL=TOKEN wanted")
		}
		probes = append(probes, probe(&adminClient{base: base, token: token}))
		return nil
	})
	if _, err := parse(f, args[1:]); err != nil {
		return err
	}
	cfg.Scenario, cfg.Probes, cfg.Rates = scenario(), probes, *cfg.rates
	cfg.Scenario.Loudest = cfg.loudest
	if cfg.from > 0 {
		cfg.Scenario.From = min(cfg.from, cfg.Scenario.Target)
	}
	if err := cfg.Scenario.At(cfg.Scenario.Target).Validate(); err != nil {
		return usage("%v", err)
	}
	if account != "" {
		var ok bool
		if cfg.User, cfg.Password, ok = strings.Cut(account, ":"); !ok || cfg.User == "" {
			return usage("--user NAME:PASSWORD (or TALKD_BENCH_USER): an account of the embedded backend")
		}
	}
	cfg.Ticket = func(ctx context.Context) (t bench.Ticket, err error) {
		err = c.ask(ctx, http.MethodPost, "/admin/v1/doctor", &t)
		return t, err
	}
	var err error
	if cfg.Nodes, err = servingNodes(ctx, c); err != nil {
		return err
	}
	if peers {
		return compareBench(ctx, cfg.Config, c.json, out)
	}
	return runBench(ctx, cfg.Config, c.json, out)
}

// benchConfig is what the flags say.
type benchConfig struct {
	bench.Config
	from    int
	loudest int
	rates   *plan.Rates
}

func benchFlags(f *flag.FlagSet) *benchConfig {
	c := new(benchConfig)
	c.rates = rateFlags(f)
	loudestFlag(f, &c.loudest)
	f.IntVar(&c.from, "from", 0, "the size to begin with; each is half as large again as the one before")
	f.BoolVar(&c.Spread, "spread", false, "people stay at the node they come to, each at the next one; else at the home of their room")
	f.DurationVar(&c.Settle, "settle", 2*time.Second, "how long a new size is left alone")
	f.DurationVar(&c.Window, "window", 5*time.Second, "how long it is measured")
	f.Float64Var(&c.MaxLoss, "max-loss", 0.001, "share of the packets that may be lost")
	f.DurationVar(&c.MaxDelay, "max-delay", 20*time.Millisecond, "how late 99 % of the packets may be")
	return c
}

// probe asks a node's admin listener.
func probe(c *adminClient) bench.Probe {
	return func(ctx context.Context) (bench.Usage, error) {
		answer, err := c.do(ctx, http.MethodGet, "/metrics", nil)
		if err != nil {
			return bench.Usage{}, err
		}
		defer answer.Close()
		return bench.ReadMetrics(answer)
	}
}

// servingNodes are the URLs of the nodes that people may come to.
func servingNodes(ctx context.Context, c *adminClient) ([]string, error) {
	var v struct {
		Nodes []nodeView `json:"nodes"`
	}
	if err := c.get(ctx, "/admin/v1/nodes", &v); err != nil {
		return nil, err
	}
	var urls []string
	for _, n := range v.Nodes {
		if n.State == "alive" && n.URL != "" {
			urls = append(urls, strings.TrimRight(n.URL, "/"))
		}
	}
	if len(urls) == 0 {
		return nil, errors.New("no node is alive and takes people")
	}
	return urls, nil
}

func runBench(ctx context.Context, cfg bench.Config, asJSON bool, out io.Writer) error {
	if asJSON {
		r, err := bench.Run(ctx, cfg, func(s bench.Step) { _ = printJSON(out, s) })
		if err != nil {
			return err
		}
		return printJSON(out, r)
	}
	largest := cfg.Scenario.At(cfg.Scenario.Target)
	fmt.Fprintf(out, "%s: up to %s; each size %v\n\n", cfg.Scenario.Name, describe(largest), cfg.Window)
	fmt.Fprintln(out, stepHeader)
	r, err := bench.Run(ctx, cfg, func(s bench.Step) { printStep(out, s) })
	if err != nil {
		return err
	}
	printResult(out, r)
	return nil
}

// compareBench tells what a server saves people's uplinks.
func compareBench(ctx context.Context, cfg bench.Config, asJSON bool, out io.Writer) error {
	if !asJSON {
		fmt.Fprintf(out, "each, in Mbit/s\n\npeople | through the nodes: up    down | formula: up down | peer to peer: up and down formula\n")
	}
	return bench.Compare(ctx, cfg, func(c bench.Comparison) {
		if asJSON {
			_ = printJSON(out, c)
			return
		}
		link := cfg.Scenario.At(c.People).Speaker(cfg.Rates)
		fmt.Fprintf(out, "%6d | %21.2f %7.2f | %11.2f %4.2f | %25.2f %7.2f\n",
			c.People, c.Up/1e6, c.Down/1e6, link.Up/1e6, link.Down/1e6, c.PeerUp/1e6, plan.PeerToPeer(c.People, cfg.Rates)/1e6)
	})
}

// The columns of a step: bandwidth in Mbit/s beside what the formula says.
const (
	stepHeader = "  size people streams |   to the nodes formula | from the nodes formula | between |    lost   worst |  delay p50      p99 | senders late p99 |   CPU per packet  memory written |"
	stepFormat = "%6d %6d %7d | %14.2f %7.2f | %14.2f %7.2f | %7.2f | %6.2f%% %6.2f%% | %10v %8v | %16v | %5.2f %10v %7s %7s | %s\n"
)

func printStep(out io.Writer, s bench.Step) {
	round := func(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }
	verdict := string(s.Verdict)
	if s.Why != "" {
		verdict += ": " + s.Why
	}
	fmt.Fprintf(out, stepFormat, s.Size, s.People, s.Streams, s.In/1e6, s.PlanIn/1e6, s.Out/1e6, s.PlanOut/1e6, s.Relay/1e6,
		100*s.Lost, 100*s.Worst, round(s.Delay.P50), round(s.Delay.P99), round(s.Late.P99),
		s.CPU, s.PacketCost.Round(100*time.Nanosecond), mebibytes(s.Memory), kibibytes(s.Written), verdict)
}

func mebibytes(v float64) string { return fmt.Sprintf("%.0fMiB", v/(1<<20)) }
func kibibytes(v float64) string { return fmt.Sprintf("%.0fKiB", v/(1<<10)) }

func printResult(out io.Writer, r bench.Result) {
	fmt.Fprintln(out)
	switch r.Carried {
	case r.Target:
		fmt.Fprintf(out, "All %d %s were carried.\n", r.Target, r.Unit)
	case 0:
		fmt.Fprintf(out, "Not even the smallest size was carried: %s.\n", r.Stopped)
	default:
		fmt.Fprintf(out, "%d %s were carried, with the people on the machine where this runs. Then: %s.\n", r.Carried, r.Unit, r.Stopped)
	}
	fmt.Fprintf(out, "In all this the nodes wrote %s to their disks.\n", kibibytes(r.Written))
	if r.PerCore > 0 {
		fmt.Fprintf(out, "A packet costs the nodes %v of a core (talkd plan --cost %v): computed, each core of a node carries %d %s.\n",
			r.PacketCost.Round(100*time.Nanosecond), r.PacketCost.Round(100*time.Nanosecond), r.PerCore, r.Unit)
	}
}
