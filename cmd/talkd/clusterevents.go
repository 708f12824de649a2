package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

type eventView struct {
	ID     string    `json:"id"`
	At     time.Time `json:"at"`
	Kind   string    `json:"kind"`
	Op     string    `json:"op"`
	Phase  string    `json:"phase"`
	Room   string    `json:"room"`
	Node   string    `json:"node"`
	Home   string    `json:"home"`
	Epoch  uint64    `json:"epoch"`
	Detail string    `json:"detail"`
}

// eventsSince is how far back the events begin.
const eventsSince = 10 * time.Minute

// eventsCommand prints one line per event until the node or the user ends it.
func eventsCommand(ctx context.Context, f *flag.FlagSet, c *adminClient, args []string, out io.Writer) error {
	since := f.Duration("since", eventsSince, "how far back to begin, as far as the node remembers; 0: with what comes")
	op := f.String("op", "", "only the operation with this `ID`, until it ends")
	if _, err := parse(f, args); err != nil {
		return err
	}
	query := url.Values{}
	if *op != "" {
		query.Set("op", *op)
	} else if *since > 0 {
		query.Set("since", time.Now().Add(-*since).UTC().Format(time.RFC3339))
	}
	last, err := followEvents(ctx, c, query, func(raw string, e eventView) {
		if c.json {
			fmt.Fprintln(out, raw)
			return
		}
		fmt.Fprintln(out, eventLine(e))
	})
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return err
	case *op != "":
		return outcome(last)
	}
	return nil
}

// followEvents hands on events until their stream ends, and gives the last one.
func followEvents(ctx context.Context, c *adminClient, query url.Values, each func(raw string, e eventView)) (last eventView, err error) {
	path := "/admin/v1/events"
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	stream, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return last, err
	}
	defer stream.Close()
	lines := bufio.NewScanner(stream)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var e eventView
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			return last, fmt.Errorf("the node sent no event: %w", err)
		}
		last = e
		each(data, e)
	}
	return last, lines.Err()
}

func eventLine(e eventView) string {
	line := e.At.Local().Format(time.TimeOnly) + "  " + e.Kind
	if e.Phase != "" {
		line += " " + e.Phase
	}
	if e.Detail != "" {
		line += "  " + e.Detail
	} else {
		for _, f := range []struct{ key, value string }{{"room", e.Room}, {"node", e.Node}, {"home", e.Home}} {
			if f.value != "" {
				line += "  " + f.key + "=" + f.value
			}
		}
	}
	if e.Epoch != 0 {
		line += fmt.Sprintf("  epoch=%d", e.Epoch)
	}
	if e.Op != "" {
		line += "  op=" + e.Op
	}
	return line
}

// orderCommand orders an operation and, unless told not to, waits for its end.
func orderCommand(ctx context.Context, f *flag.FlagSet, c *adminClient, args []string, out, log io.Writer) error {
	names := []string{"NODE"}
	if args[0] == "move" {
		names = []string{"ROOM", "NODE"}
	}
	noWait := noWaitFlag(f)
	operands, err := parse(f, args[1:], names...)
	if err != nil {
		return err
	}
	target := url.PathEscape(operands[0])
	switch args[0] {
	case "move":
		return c.order(ctx, *noWait, http.MethodPost, "/admin/v1/rooms/"+target+"/move", map[string]string{"node": operands[1]}, out, log)
	case "remove":
		return c.order(ctx, *noWait, http.MethodDelete, "/admin/v1/nodes/"+target, nil, out, log)
	default:
		return c.order(ctx, *noWait, http.MethodPost, "/admin/v1/nodes/"+target+"/"+args[0], nil, out, log)
	}
}

func noWaitFlag(f *flag.FlagSet) *bool {
	return f.Bool("no-wait", false, "do not wait for the end; print the id of the operation")
}

// order asks for an operation and prints its progress until it has ended.
func (c *adminClient) order(ctx context.Context, noWait bool, method, path string, body any, out, log io.Writer) error {
	var ordered struct {
		Event string `json:"event"`
	}
	answer, err := c.do(ctx, method, path, body)
	if err != nil {
		return err
	}
	err = json.NewDecoder(answer).Decode(&ordered)
	_ = answer.Close() // it was read
	if err != nil {
		return err
	}
	if noWait {
		if c.json {
			return printJSON(out, ordered)
		}
		_, err := fmt.Fprintln(out, ordered.Event)
		return err
	}
	follow := "talkd cluster events --op " + ordered.Event
	last, err := followEvents(ctx, c, url.Values{"op": {ordered.Event}}, func(raw string, e eventView) {
		if c.json {
			fmt.Fprintln(out, raw)
			return
		}
		fmt.Fprintln(out, e.At.Local().Format(time.TimeOnly)+"  "+e.Phase+": "+e.Detail)
	})
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(log, "it goes on without you; follow it: "+follow)
		return errors.New("not waited for the end")
	case err != nil:
		return fmt.Errorf("the node that was asked is lost, the operation may go on; follow it at another one (--admin URL): %s: %w", follow, err)
	}
	return outcome(last)
}

// outcome is how an operation ended. Its text was printed.
func outcome(last eventView) error {
	switch last.Phase {
	case "done":
		return nil
	case "failed":
		return errors.New("failed, see above")
	}
	return errors.New("the node that was asked stopped before the end; follow it at another one (--admin URL): talkd cluster events --op " + last.Op)
}
