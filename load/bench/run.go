package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/talkd/talkd/load"
	"github.com/talkd/talkd/load/plan"
)

// Config is what a run wants to know.
type Config struct {
	Scenario Scenario
	Nodes    []string // base URLs
	Probes   []Probe
	// User has an account of the embedded backend, which makes conversations for
	// guests. Without one, people are visitors, who ask for tickets.
	User, Password string
	Ticket         func(context.Context) (Ticket, error)
	Rates          plan.Rates
	// Spread lets people stay at whatever node they come to, in turn; else they
	// are at the home of their room, or where the first of it is.
	Spread bool
	// Settle is how long a new size is left alone, and Window how long it is
	// measured.
	Settle, Window time.Duration
	// A size is carried when no more than this is lost and late.
	MaxLoss  float64       // share of all packets
	MaxDelay time.Duration // of 99 % of all packets
}

// maxWorst is the share that the stream of which most was lost may lose: nobody
// is to be starved for the others.
const maxWorst = 0.05

// attempts is how often a size is measured that is void: something else may
// have been busy for a moment.
const attempts = 3

// Verdict is what is said of a size.
type Verdict string

// Verdicts.
const (
	Carried Verdict = "carried"
	Lossy   Verdict = "lossy"   // too much is lost
	Late    Verdict = "late"    // too much comes too late
	Refused Verdict = "refused" // not all could come
	// Void says nothing of the nodes: the people themselves were late.
	Void Verdict = "void"
)

// judge says what has become of a size.
func (c Config) judge(s *Step) {
	switch {
	case s.Late.P99 > c.MaxDelay/2:
		s.Verdict, s.Why = Void, fmt.Sprintf("the machine of the people cannot send on time: %v late", s.Late.P99)
	case s.Lost > c.MaxLoss:
		s.Verdict, s.Why = Lossy, fmt.Sprintf("%.2f %% lost", 100*s.Lost)
	case s.Worst > maxWorst:
		s.Verdict, s.Why = Lossy, fmt.Sprintf("a stream lost %.1f %%", 100*s.Worst)
	case s.Delay.P99 > c.MaxDelay:
		s.Verdict, s.Why = Late, fmt.Sprintf("1 %% comes after more than %v", s.Delay.P99)
	default:
		s.Verdict = Carried
	}
}

// Result is what is said at the end.
type Result struct {
	Scenario string `json:"scenario"`
	Unit     string `json:"unit"`
	Target   int    `json:"target"`
	Carried  int    `json:"carried"` // the largest size that was; 0: none
	Stopped  string `json:"stopped,omitempty"`
	// By CPU alone: what one core carries at 80 %, by the price at the largest size
	// that was carried. 0: nothing is known.
	PerCore    int           `json:"carried_per_core_computed"`
	PacketCost time.Duration `json:"packet_cost_ns"`
	// Written is what the nodes wrote to disks in the whole run: conversations,
	// people who come, and no media.
	Written float64 `json:"written_bytes"`
}

// usable is the share of a core that media may take, as a node has it.
const usable = 0.8

// Run goes through the sizes until one is not carried, and tells of each.
func Run(ctx context.Context, cfg Config, told func(Step)) (r Result, err error) {
	before, err := ask(ctx, cfg.Probes)
	if err != nil {
		return r, err
	}
	c, err := newCrowd(ctx, cfg)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, c.leave(ctx)) }()
	r = Result{Scenario: cfg.Scenario.Name, Unit: cfg.Scenario.Unit, Target: cfg.Scenario.Target}
	for _, size := range cfg.Scenario.sizes() {
		step, err := c.step(ctx, size)
		if err != nil {
			return r, err
		}
		told(step)
		if step.Verdict != Carried {
			r.Stopped = step.Why
			break
		}
		r.Carried, r.PacketCost = size, step.PacketCost
		if step.PacketCost > 0 {
			r.PerCore = cfg.Scenario.within(usable/step.PacketCost.Seconds(), cfg.Rates)
		}
	}
	after, err := ask(ctx, cfg.Probes)
	r.Written = after.Written - before.Written
	return r, err
}

// newCrowd is nobody yet.
func newCrowd(ctx context.Context, cfg Config) (*crowd, error) {
	own, err := route(ctx, cfg.Nodes[0])
	if err != nil {
		return nil, err
	}
	in, err := cfg.enters(ctx)
	if err != nil {
		return nil, err
	}
	return &crowd{cfg: cfg, in: in, clock: load.NewClock(), network: load.Network{IP: own, Traffic: new(load.Traffic)}}, nil
}

// step brings people up to a size and measures. That they cannot come is an
// outcome, too, but for a smallest size.
func (c *crowd) step(ctx context.Context, size int) (Step, error) {
	m := c.cfg.Scenario.At(size)
	if err := c.grow(ctx, m); err != nil {
		if ctx.Err() != nil || size == c.cfg.Scenario.From {
			return Step{}, err
		}
		return Step{Size: size, People: m.Count * m.Participants, Verdict: Refused, Why: first(err).Error()}, nil
	}
	if err := load.Wait(ctx, c.cfg.Settle); err != nil {
		return Step{}, err
	}
	for attempt := 1; ; attempt++ {
		s, err := c.measure(ctx, size)
		if err != nil {
			return Step{}, err
		}
		if c.cfg.judge(&s); s.Verdict != Void || attempt == attempts {
			return s, nil
		}
	}
}

// first is the first of several errors that were joined.
func first(err error) error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok && len(joined.Unwrap()) > 0 {
		return first(joined.Unwrap()[0])
	}
	return err
}

// route is the address of this machine on the way to a node.
func route(ctx context.Context, node string) (net.IP, error) {
	u, err := url.Parse(node)
	if err != nil {
		return nil, err
	}
	// Nothing is sent: the kernel only looks for the way.
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp4", net.JoinHostPort(u.Hostname(), "9"))
	if err != nil {
		return nil, fmt.Errorf("no way to %s: %w", u.Hostname(), err)
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).IP, nil
}
