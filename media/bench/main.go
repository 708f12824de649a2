//go:build linux

package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 3 && args[0] == "forward" {
		core, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		if err := pin(core); err != nil {
			return err
		}
		return forward(args[2])
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	b := Bench{}
	flags.BoolVar(&b.Quick, "quick", false, "only the most important cases, in about a minute")
	flags.StringVar(&b.Only, "only", "", "only this `part`: cpu, growth, check, delay or memory")
	flags.StringVar(&b.Cases, "cases", "", "of the part cpu, only the cases with this `text` in their names")
	flags.IntVar(&b.Rounds, "rounds", 0, "how many rounds count; 0 is 5, 3 when quick")
	flags.IntVar(&b.Core, "core", 0, "the core that forwards")
	rest := flags.Int("rest", 1, "the core of publishers and receivers")
	out := flags.String("json", "", "write all samples to this `file`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := pin(*rest); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	result, err := b.run(ctx)
	if err != nil {
		return err
	}
	if *out != "" {
		if err := result.write(*out); err != nil {
			return err
		}
	}
	return result.verdict()
}

// Bench says what to measure.
type Bench struct {
	Quick  bool
	Only   string // one part
	Cases  string // what is in the names of those to measure; empty: all
	Rounds int    // 0: as many as there should be
	Core   int    // that forwards
}

// run prints results as they come.
func (b Bench) run(ctx context.Context) (r Result, err error) {
	for _, part := range []struct {
		name  string
		quick bool
		run   func(context.Context, *Result) error
	}{
		{"cpu", true, b.cpu},
		{"growth", false, b.growth},
		{"check", true, b.check},
		{"delay", false, b.delay},
		{"memory", false, b.memory},
	} {
		if b.Only == part.name || b.Only == "" && (part.quick || !b.Quick) {
			if err := part.run(ctx, &r); err != nil {
				return r, fmt.Errorf("%s: %w", part.name, err)
			}
		}
	}
	return r, nil
}

func (b Bench) window() Window {
	w := Window{Rounds: 5, WarmUp: 500 * time.Millisecond, Turns: 14, Turn: 50 * time.Millisecond}
	if b.Quick {
		w.Rounds, w.WarmUp, w.Turns = 3, 300*time.Millisecond, 10
	}
	if b.Rounds > 0 {
		w.Rounds = b.Rounds
	}
	return w
}

func (b Bench) cpu(ctx context.Context, r *Result) error {
	cases := allCases()
	if b.Quick {
		cases = quickCases()
	}
	fmt.Print(cpuHead)
	for _, c := range cases {
		if !strings.Contains(c.Name, b.Cases) {
			continue
		}
		row, err := compare(ctx, c, b.window(), b.Core)
		if err != nil {
			return err
		}
		r.CPU = append(r.CPU, row)
		fmt.Print(row)
	}
	return nil
}

func (b Bench) growth(ctx context.Context, r *Result) error {
	fmt.Print(growthHead)
	for _, burst := range []int{8, 1} {
		g, err := growth(ctx, burst, b.window(), b.Core)
		if err != nil {
			return err
		}
		r.Growth = append(r.Growth, g)
		fmt.Print(g)
	}
	return nil
}

func (b Bench) check(ctx context.Context, r *Result) error {
	fmt.Print(checkHead)
	for _, c := range checkCases() {
		for _, v := range variants {
			checked, err := check(ctx, c, v, b.Core, checkTime)
			if err != nil {
				return fmt.Errorf("%s: %w", v, err)
			}
			r.Checks = append(r.Checks, checked)
			fmt.Print(checked)
		}
	}
	return nil
}

func (b Bench) delay(ctx context.Context, r *Result) error {
	fmt.Print(delayHead)
	for _, v := range variants {
		d, err := delay(ctx, pacedCase(), v, b.Core)
		if err != nil {
			return fmt.Errorf("%s: %w", v, err)
		}
		r.Delays = append(r.Delays, d)
		fmt.Print(d)
	}
	return nil
}

func (b Bench) memory(ctx context.Context, r *Result) (err error) {
	fmt.Print(memoryHead)
	r.Memory, err = memories(ctx, b.Core)
	for _, m := range r.Memory {
		fmt.Print(m)
	}
	return err
}
