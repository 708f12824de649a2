package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/talkd/talkd/node/devcluster"
)

func dev(ctx context.Context, args []string, out, log io.Writer) error {
	f := flags("dev", log)
	o := devcluster.Options{Embedded: true}
	f.IntVar(&o.Nodes, "nodes", 3, "how many nodes")
	f.StringVar(&o.Dir, "dir", "", "keep all state in `DIR` (default: a temporary directory, removed on exit)")
	f.IntVar(&o.BasePort, "base-port", 8080, "first `PORT`; node k uses ten from PORT+10k")
	f.StringVar(&o.Config, "config", "", "a configuration `FILE` that all nodes start from")
	f.BoolVar(&o.Embedded, "embedded", true, "serve the embedded backend")
	f.StringVar(&o.Internal, "internal-secret", "", "the `SECRET` of internal clients, such as a SIP bridge (default: there are none)")
	initUser := f.String("init-user", "", "the demo account, `NAME:PASSWORD` (default: admin and a password made now)")
	asJSON := f.Bool("json", false, "print one line of JSON per node, then one for the cluster")
	f.Func("backend", "serve this Nextcloud, `URL=SECRET`; may be repeated", func(s string) error {
		if url, secret, ok := strings.Cut(s, "="); !ok || url == "" || secret == "" {
			return fmt.Errorf("URL=SECRET wanted")
		}
		o.Backends = append(o.Backends, s)
		return nil
	})
	if _, err := parse(f, args); err != nil {
		return err
	}
	if *initUser == "" {
		*initUser = "admin:" + strings.ToLower(rand.Text()[:10])
	}
	var ok bool
	if o.User, o.Password, ok = strings.Cut(*initUser, ":"); !ok || o.User == "" || o.Password == "" {
		return usage("--init-user: NAME:PASSWORD wanted")
	}
	if !o.Embedded {
		o.User, o.Password = "", ""
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	o.Exe = exe
	o.Logger = slog.New(slog.NewTextHandler(log, nil))
	if *asJSON {
		lines := json.NewEncoder(out)
		return devcluster.Run(ctx, o,
			func(n devcluster.Started) { _ = lines.Encode(n) },
			func(r devcluster.Ready) { _ = lines.Encode(r) })
	}
	var first string
	return devcluster.Run(ctx, o,
		func(n devcluster.Started) {
			if first == "" {
				first = n.HTTP
			}
			fmt.Fprintf(out, "%s is ready   %s   admin %s/#token=%s   pid %d\n", n.Node, n.HTTP, n.Admin, n.Token, n.PID)
		},
		func(r devcluster.Ready) {
			fmt.Fprintf(out, "\nOpen %s   (leader %s, Ctrl-C stops)\n", first, r.Leader)
			if r.User != "" {
				fmt.Fprintf(out, "Log in as %s with the password %s, make a conversation, and open its link in a second window.\n", r.User, r.Password)
			}
		})
}
