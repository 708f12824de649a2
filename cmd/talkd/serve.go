package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/talkd/talkd/node"
	"github.com/talkd/talkd/node/config"
)

func serve(ctx context.Context, args []string, out, log io.Writer) error {
	f := flags("serve", log)
	file := f.String("config", "", "configuration `FILE` (YAML)")
	data := f.String("data", "", "`DIR` of identity, Raft log and database")
	http := f.String("http", "", "`ADDR` of the public listener")
	admin := f.String("admin-http", "", "`ADDR` of the admin listener")
	publicURL := f.String("public-url", "", "`URL` under which browsers reach this node")
	advertise := f.String("advertise", "", "`IP` under which other nodes and clients reach this node")
	region := f.String("region", "", "`REGION` of the node")
	roles := f.String("roles", "", "comma-separated `ROLES`: server,signaling,media")
	initUser := f.String("init-user", "", "create this user if missing: `NAME:PASSWORD`")
	expect := f.Int("expect", 0, "the first of `N` nodes: print the commands that join the others")
	join := f.String("join", "", "`HOST:PORT` of a node to join")
	joinToken := f.String("join-token", "", "`TOKEN` for the first start, from talkd join-token create")
	if _, err := parse(f, args); err != nil {
		return err
	}
	c, err := config.Load(*file, os.Environ())
	if err != nil {
		return err
	}
	override(&c.Node.Data, *data)
	override(&c.HTTP.Listen, *http)
	override(&c.Admin.Listen, *admin)
	override(&c.HTTP.PublicURL, *publicURL)
	override(&c.Node.Region, *region)
	override(&c.Accounts.InitUser, *initUser)
	override(&c.Cluster.JoinToken, *joinToken)
	if *roles != "" {
		c.Node.Roles = strings.Split(*roles, ",")
	}
	if *join != "" {
		c.Cluster.Join = []string{*join}
	}
	if *expect != 0 {
		c.Cluster.Expect = *expect
	}
	if *advertise != "" {
		if err := advertiseIP(&c, *advertise); err != nil {
			return err
		}
	}
	if err := c.Complete(); err != nil {
		return err
	}
	if err := c.Validate(); err != nil {
		return err
	}
	logger := newLogger(log, c.Log)
	n, err := node.New(c, buildVersion(), logger)
	if err != nil {
		return err
	}
	// Told as soon as the node takes traffic: the join commands need a leader.
	announced := make(chan struct{})
	go func() {
		defer close(announced)
		select {
		case <-ctx.Done():
		case <-n.Ready():
			announce(ctx, n, c, out, logger)
		}
	}()
	stop := hurryAtSecondSignal(n)
	ctx, cancel := context.WithCancel(ctx)
	err = n.Run(ctx)
	cancel()
	stop()
	<-announced
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// hurryAtSecondSignal: the first signal ends the context of serve, whereupon the
// node takes leave of its people; whoever signals again does not want to wait.
// After that signals end the program at once.
func hurryAtSecondSignal(n *node.Node) (stop func()) {
	signals := make(chan os.Signal, 2)
	done, ended := make(chan struct{}), make(chan struct{})
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		defer close(ended)
		defer signal.Stop(signals)
		for range 2 {
			select {
			case <-signals:
			case <-done:
				return
			}
		}
		n.Hurry()
	}()
	return func() {
		close(done)
		<-ended
	}
}

func override(s *string, flag string) {
	if flag != "" {
		*s = flag
	}
}

// announce prints what the operator needs next.
func announce(ctx context.Context, n *node.Node, c config.Config, out io.Writer, logger *slog.Logger) {
	fmt.Fprintf(out, "talkd %s is ready: %s\n", c.Node.ID, c.HTTP.PublicURL)
	commands, err := n.JoinCommands(ctx)
	if err != nil {
		logger.Error("no join commands", "error", err)
		return
	}
	printJoin(out, c.Cluster.Advertise, commands)
}

func printJoin(out io.Writer, advertise string, commands []string) {
	if len(commands) == 0 {
		return
	}
	if config.Loopback(advertise) {
		fmt.Fprintf(out, "Other machines cannot reach this node at %s: start it with --advertise and the address of this machine.\n", advertise)
	}
	fmt.Fprintln(out, "Start the other nodes within an hour, each with its own command; put the address of its machine for IP:")
	for _, command := range commands {
		fmt.Fprintln(out, "  "+command)
	}
}

// advertiseIP turns the listeners that stand on loopback by default to an
// address that others can reach.
func advertiseIP(c *config.Config, text string) error {
	ip, err := netip.ParseAddr(text)
	if err != nil || ip.IsUnspecified() {
		return usage("--advertise %q: an IP address of this machine wanted", text)
	}
	for _, addr := range []*string{&c.Cluster.Listen, &c.Cluster.GossipListen, &c.Media.Listen, &c.Relay.Listen} {
		if !config.Loopback(*addr) {
			continue
		}
		_, port, err := net.SplitHostPort(*addr)
		if err != nil {
			return usage("%q is not host:port", *addr)
		}
		*addr = net.JoinHostPort(ip.String(), port)
	}
	c.Media.Advertise = []string{ip.String()}
	return nil
}

func newLogger(w io.Writer, c config.Log) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.Level)) // validated before
	options := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
