//go:build linux

package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"time"

	piondtls "github.com/pion/dtls/v3"
)

// profile is what receivers and publishers agree to, and so is the same for
// every variant.
const profile = piondtls.SRTP_AEAD_AES_256_GCM

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
	quick := flags.Bool("quick", false, "only the most important cases, in less than a minute")
	out := flags.String("json", "", "write all samples to this `file`")
	forwarders := flags.Int("core", 0, "the core that forwards")
	rest := flags.Int("rest", 1, "the core of publishers and receivers")
	if err := flags.Parse(args); err != nil {
		return err
	}
	err := pin(*rest)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	w := Window{Rounds: 5, WarmUp: 500 * time.Millisecond, Measure: 700 * time.Millisecond}
	cases := allCases()
	if *quick {
		w = Window{Rounds: 3, WarmUp: 300 * time.Millisecond, Measure: 500 * time.Millisecond}
		cases = quickCases()
	}
	var result Result
	fmt.Print(tableHead)
	for _, c := range cases {
		row, err := compare(ctx, c, w, *forwarders)
		if err != nil {
			return err
		}
		result.Rows = append(result.Rows, row)
		fmt.Print(row)
	}
	fmt.Print(checkHead)
	for _, c := range checkCases() {
		for _, v := range variants {
			checked, err := check(ctx, c, v, *forwarders, checkTime)
			if err != nil {
				return fmt.Errorf("check of %s: %w", v, err)
			}
			result.Checks = append(result.Checks, checked)
			fmt.Print(checked)
		}
	}
	if !*quick {
		if result.Memory, err = memories(ctx, *forwarders); err != nil {
			return err
		}
		fmt.Print(memoryHead)
		for _, m := range result.Memory {
			fmt.Print(m)
		}
	}
	if *out != "" {
		if err := result.write(*out); err != nil {
			return err
		}
	}
	return result.verdict()
}
