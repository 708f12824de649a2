// Command talkd is audio and video conferences on one's own servers, from one
// program that clusters by itself.
//
// This package is flags, signals and exit codes; the program is in node.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
)

// version is set by the build.
var version = "dev"

// Exit codes; scripts may rely on them.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// errUsage marks an error of the command line.
var errUsage = errors.New("usage")

func usage(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errUsage}, args...)...)
}

// command is one word of the command line.
type command struct {
	name, args, about string
	words             bool // its first argument is a word too
	run               func(ctx context.Context, args []string, out, log io.Writer) error
}

func commands() []command {
	return []command{
		{"serve", "[--config FILE] …", "run one node", false, serve},
		{"dev", "[--nodes 3] …", "run a cluster on this machine's loopback", false, dev},
		{"join-token", "create", "make a token for a node that joins", true, joinToken},
		{"cluster", clusterWords, "see the cluster, and change it", true, clusterCommand},
		{"backend", backendWords, "Nextclouds that the cluster serves, at run time", true, backendCommand},
		{"keys", keysWords, "replace keys of the cluster's own, without an outage", true, keysCommand},
		{"user", "add NAME | list", "accounts of the embedded backend", true, user},
		{"plan", "[--meetings 500 --participants 3] …", "compute bandwidth and nodes for meetings", false, planCommand},
		{"bench", benchWords, "bring people who send and receive to running nodes", true, benchCommand},
		{"sim", "[--nodes 1000] …", "simulate placement in a large cluster", false, simulate},
		{"doctor", "[--url URL] …", "look at every hop, and name the broken one", false, doctorCommand},
		{"config", configWords, "check a configuration, or make one from other servers'", true, configCommand},
		{"version", "", "print the version", false, printVersion},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	// The second signal ends the program at once, unless a command takes it.
	context.AfterFunc(ctx, stop)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, out, log io.Writer) int {
	if len(args) == 0 || isHelp(args[0]) {
		printUsage(out)
		return exitDone
	}
	for _, c := range commands() {
		if c.name != args[0] {
			continue
		}
		if c.words && len(args) > 1 && isHelp(args[1]) {
			fmt.Fprintf(out, "talkd %s %s: %s\n\nAdd --help behind one of them for its flags.\n", c.name, c.args, c.about)
			return exitDone
		}
		switch err := c.run(ctx, args[1:], out, log); {
		case err == nil, errors.Is(err, flag.ErrHelp):
			return exitDone
		case errors.Is(err, errUsage):
			fmt.Fprintln(log, "talkd", c.name+":", err)
			return exitUsage
		default:
			fmt.Fprintln(log, "talkd", c.name+":", err.Error()+wayOut(err))
			return exitFailed
		}
	}
	fmt.Fprintf(log, "talkd: no command %q; talkd help lists them\n", args[0])
	return exitUsage
}

func isHelp(arg string) bool {
	return arg == "help" || arg == "--help" || arg == "-help" || arg == "-h"
}

func printUsage(w io.Writer) {
	fmt.Fprint(w, "talkd: audio and video conferences on one's own servers\n\n")
	for _, c := range commands() {
		if len(c.args) > 38 {
			fmt.Fprintf(w, "  talkd %-12s %s\n  %57s %s\n", c.name, c.args, "", c.about)
			continue
		}
		fmt.Fprintf(w, "  talkd %-12s %-38s %s\n", c.name, c.args, c.about)
	}
	fmt.Fprint(w, "\ntalkd COMMAND --help tells the flags. Exit codes: 0 done, 1 failed, 2 wrong usage.\n")
}

func printVersion(_ context.Context, args []string, out, _ io.Writer) error {
	if len(args) > 0 {
		return usage("version takes no arguments")
	}
	_, err := fmt.Fprintf(out, "talkd %s %s %s/%s\n", buildVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

func buildVersion() string {
	if version != "dev" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return version
}

// flags makes a flag set whose errors are usage errors.
func flags(name string, log io.Writer) *flag.FlagSet {
	f := flag.NewFlagSet("talkd "+name, flag.ContinueOnError)
	f.SetOutput(log)
	return f
}

// parse reads args; flags may stand before and behind the operands, of which
// there must be as many as names, or more if the last one ends in "...". An error is one line: only --help lists the
// flags.
func parse(f *flag.FlagSet, args []string, names ...string) ([]string, error) {
	log := f.Output()
	f.SetOutput(io.Discard)
	var operands []string
	for {
		if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
			fmt.Fprintf(log, "Flags of %s:\n", f.Name())
			f.SetOutput(log)
			f.PrintDefaults()
			return nil, err
		} else if err != nil {
			return nil, usage("%v (%s --help)", err, f.Name())
		}
		if f.NArg() == 0 {
			break
		}
		operands = append(operands, f.Arg(0))
		args = f.Args()[1:]
	}
	wanted := strings.Join(append([]string{f.Name()}, names...), " ")
	switch more := strings.HasSuffix(wanted, "..."); {
	case len(operands) < len(names):
		return nil, usage("%s is missing: %s (%s --help)", names[len(operands)], wanted, f.Name())
	case len(operands) > len(names) && !more:
		return nil, usage("%q is too much: %s (%s --help)", operands[len(names)], wanted, f.Name())
	}
	return operands, nil
}
