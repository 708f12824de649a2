package bench

import (
	"bufio"
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
)

// Probe asks a node what it uses.
type Probe func(context.Context) (Usage, error)

// Usage is what a node has used since its start, and what it has now.
type Usage struct {
	CPU     float64 // seconds
	Memory  float64 // bytes, resident
	Written float64 // bytes that went to disks
	Relayed float64 // bytes to other nodes
	Cores   float64 // that it may use
}

// ErrMetrics tells that what was read are not the metrics of a node.
var ErrMetrics = errors.New("bench: no metrics of a node")

// ReadMetrics reads what a node's /metrics says, in Prometheus' text format.
func ReadMetrics(r io.Reader) (u Usage, err error) {
	wanted := map[string]*float64{
		"process_cpu_seconds_total":                &u.CPU,
		"process_resident_memory_bytes":            &u.Memory,
		"talkd_disk_written_bytes_total":           &u.Written,
		`talkd_relay_bytes_total{direction="out"}`: &u.Relayed,
		"go_sched_gomaxprocs_threads":              &u.Cores,
	}
	found := false
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), " ")
		to := wanted[name]
		if !ok || to == nil {
			continue
		}
		if *to, err = strconv.ParseFloat(value, 64); err != nil {
			return Usage{}, ErrMetrics
		}
		found = true
	}
	if err := lines.Err(); err != nil {
		return Usage{}, err
	}
	if !found {
		return Usage{}, ErrMetrics
	}
	return u, nil
}

// ask asks all nodes, and adds up.
func ask(ctx context.Context, probes []Probe) (sum Usage, err error) {
	for _, p := range probes {
		u, err := p(ctx)
		if err != nil {
			return Usage{}, err
		}
		sum.CPU += u.CPU
		sum.Memory += u.Memory
		sum.Written += u.Written
		sum.Relayed += u.Relayed
		sum.Cores += u.Cores
	}
	return sum, nil
}
