//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// Result is all that came of a run.
type Result struct {
	CPU    []Row
	Checks []Checked
	Memory []Memory
	Delays []Delay
}

// The tables are Markdown, for docs/performance.md.
const (
	cpuHead = `| CPU per forwarded packet, ns | floor | talkd | × floor | goal | Pion | × floor | talkd cheaper by | allocations: talkd, Pion | |
|---|---|---|---|---|---|---|---|---|---|
`
	checkHead = `
| every packet decrypted and looked at | packets | missing | out of order | doubled | altered |
|---|---|---|---|---|---|
`
	delayHead = `
| delay from socket to socket, 50 receivers | busy | packets/s out | p50 | p99 | max |
|---|---|---|---|---|---|
`
	memoryHead = `
| resident memory of a receiver's connection | KiB | × bare |
|---|---|---|
`
)

func (r Row) String() string {
	floor, talkd, plain := r.Variants[Floor], r.Variants[Talkd], r.Variants[Plain]
	goal := ""
	if r.Case.Limit > 0 {
		goal = fmt.Sprintf("≤ %.2f", r.Case.Limit)
	}
	void := ""
	if len(r.Void) > 0 {
		void = "void: " + strings.Join(r.Void, ", ")
	}
	return fmt.Sprintf("| %s | %.0f | %.0f | %v | %s | %.0f | %v | %.1f × | %.3f, %.1f | %s |\n",
		r.Case.Name, floor.Nanoseconds, talkd.Nanoseconds, talkd, goal, plain.Nanoseconds, plain,
		plain.Ratio/talkd.Ratio, talkd.Allocations, plain.Allocations, void)
}

func (v Variant) String() string {
	return fmt.Sprintf("**%.2f** (%.2f–%.2f)", v.Ratio, v.Lowest, v.Highest)
}

func (c Checked) String() string {
	how := "tight"
	if c.Paced {
		how = "paced"
	}
	return fmt.Sprintf("| %s, %s | %d | %d | %d | %d | %d |\n", c.Variant, how, c.Packets, c.Missing, c.Late, c.Doubled, c.Altered)
}

func (m Memory) String() string {
	with := "without data channel"
	if m.Data {
		with = "with data channel"
	}
	return fmt.Sprintf("| %s, %s | %.0f | %.2f |\n", m.Variant, with, m.KiB, m.Ratio)
}

func (d Delay) String() string {
	ms := func(t time.Duration) float64 { return float64(t) / float64(time.Millisecond) }
	if d.Lost != 0 {
		return fmt.Sprintf("| %s | %.0f %% | %.0f k | void: %d lost | | |\n", d.Variant, 100*d.Busy, d.Rate/1000, d.Lost)
	}
	return fmt.Sprintf("| %s | %.0f %% | %.0f k | %.2f ms | %.2f ms | %.2f ms |\n",
		d.Variant, 100*d.Busy, d.Rate/1000, ms(d.P50), ms(d.P99), ms(d.Max))
}

func (r Result) write(file string) error {
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}

// verdict is an error when talkd or the floor did not do what they are measured
// for.
func (r Result) verdict() error {
	for _, c := range r.Checks {
		if c.Variant != Plain && !c.good() {
			return errors.New("not every packet came as it was sent")
		}
	}
	return nil
}
