package main

import (
	"context"
	"io"
	"net/http"
)

const keysWords = "rotate gossip | ca"

// keysCommand replaces keys of the cluster's own, and follows that until all
// nodes have changed over.
func keysCommand(ctx context.Context, args []string, out, log io.Writer) error {
	if len(args) == 0 || args[0] != "rotate" {
		return usage("keys %s", keysWords)
	}
	f := flags("keys rotate", log)
	c := adminFlags(f)
	noWait := noWaitFlag(f)
	operands, err := parse(f, args[1:], "gossip|ca")
	if err != nil {
		return err
	}
	switch key := operands[0]; key {
	case "gossip", "ca":
		return c.order(ctx, *noWait, http.MethodPost, "/admin/v1/keys/"+key+"/rotate", nil, out, log)
	default:
		return usage("keys rotate %q: gossip or ca", key)
	}
}
