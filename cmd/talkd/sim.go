package main

import (
	"context"
	"encoding/json"
	"io"
	"os"

	"github.com/talkd/talkd/cluster/sim"
)

// simulate shows what placement does in a large cluster.
func simulate(ctx context.Context, args []string, out, log io.Writer) error {
	f := flags("sim", log)
	var cfg sim.Config
	f.IntVar(&cfg.Nodes, "nodes", 1000, "nodes of the cluster")
	f.IntVar(&cfg.Rooms, "rooms", 300_000, "rooms that begin within an hour")
	f.IntVar(&cfg.People, "people", 1_000_000, "people in them")
	f.Uint64Var(&cfg.Seed, "seed", 1, "the same seed gives the same story")
	asJSON := f.Bool("json", false, "write JSON")
	if _, err := parse(f, args); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "talkd-sim-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	cfg.Dir = dir
	report, err := sim.Run(ctx, cfg)
	if err != nil {
		return err
	}
	if *asJSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(report)
	}
	report.Write(out)
	return nil
}
