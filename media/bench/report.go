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
	Growth []Growth
	Checks []Checked
	Memory []Memory
	Delays []Delay
}

// The tables are Markdown, for docs/performance.md.
const (
	cpuHead = `| CPU per forwarded packet, ns | floor | talkd | × floor | goal | Pion | × floor | talkd cheaper by | allocations: talkd, Pion | |
|---|---|---|---|---|---|---|---|---|---|
`
	growthHead = `
| from 50 to 200 receivers, CPU per packet × | floor | talkd | goal | |
|---|---|---|---|---|
`
	checkHead = `
| every packet decrypted and looked at | packets | missing | out of order | doubled | altered |
|---|---|---|---|---|---|
`
	delayHead = `
| delay from socket to socket, first, middle and last of 50 receivers | busy | packets/s out | p50 | p99 | max |
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
	return fmt.Sprintf("| %s | %.0f | %.0f | %v | %s | %.0f | %v | %.1f × | %.3f, %.1f | %s |\n",
		r.Case.Name, floor.Nanoseconds, talkd.Nanoseconds, talkd.Ratio, goal, plain.Nanoseconds, plain.Ratio,
		plain.Ratio.Median/talkd.Ratio.Median, talkd.Allocations, plain.Allocations, remark(r.Void, r.Rounds))
}

func (g Growth) String() string {
	var void []string
	if g.Rounds.Void != "" {
		void = append(void, g.Rounds.Void)
	}
	return fmt.Sprintf("| %s | %v | %v | ≤ %.2f | %s |\n", g.Name, g.Floor, g.Talkd, g.Limit, remark(void, g.Rounds))
}

// remark is what else is to be said of a row.
func remark(void []string, r Rounds) string {
	if len(void) > 0 {
		return "**void**: " + strings.Join(void, ", ")
	}
	return r.String()
}

func (c Checked) String() string {
	return fmt.Sprintf("| %s, %s | %d | %d | %d | %d | %d |\n", c.Variant, c.Name, c.Packets, c.Missing, c.Late, c.Doubled, c.Altered)
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
	if d.Void != "" {
		return fmt.Sprintf("| %s | %.0f %% | %.0f k | **void**: %s | | |\n", d.Variant, 100*d.Busy, d.Rate/1000, d.Void)
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
