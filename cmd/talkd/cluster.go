package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
)

const clusterWords = "status | rooms | room ROOM | events | drain NODE | undrain NODE | remove NODE | move ROOM NODE"

func clusterCommand(ctx context.Context, args []string, out, log io.Writer) error {
	if len(args) == 0 {
		return usage("cluster %s", clusterWords)
	}
	f := flags("cluster "+args[0], log)
	c := adminFlags(f)
	switch args[0] {
	case "status":
		if _, err := parse(f, args[1:]); err != nil {
			return err
		}
		var v clusterView
		if done, err := c.call(ctx, http.MethodGet, "/admin/v1/cluster", nil, &v, out); done || err != nil {
			return err
		}
		return printCluster(out, v)
	case "rooms":
		return roomsCommand(ctx, f, c, args[1:], out, log)
	case "room":
		operands, err := parse(f, args[1:], "ROOM")
		if err != nil {
			return err
		}
		var v roomView
		if done, err := c.call(ctx, http.MethodGet, "/admin/v1/rooms/"+url.PathEscape(operands[0]), nil, &v, out); done || err != nil {
			return err
		}
		return printRoom(out, v)
	case "events":
		return eventsCommand(ctx, f, c, args[1:], out)
	case "drain", "undrain", "remove", "move":
		return orderCommand(ctx, f, c, args, out, log)
	default:
		return usage("cluster %q: %s", args[0], clusterWords)
	}
}

// Pages of rooms.
const (
	roomsPage  = 500
	roomsShown = 1000
)

// roomsCommand lists rooms page by page.
func roomsCommand(ctx context.Context, f *flag.FlagSet, c *adminClient, args []string, out, log io.Writer) error {
	limit := f.Int("limit", roomsShown, "how many rooms at most; 0 lists all")
	search := f.String("search", "", "only rooms with this `TEXT` in their name")
	home := f.String("home", "", "only rooms whose home is this `NODE`")
	newest := f.Bool("newest", false, "the newest first")
	if _, err := parse(f, args); err != nil {
		return err
	}
	if *limit < 0 {
		return usage("--limit: 0 or more")
	}
	query := url.Values{}
	for key, value := range map[string]string{"q": *search, "home": *home} {
		if value != "" {
			query.Set(key, value)
		}
	}
	if *newest {
		query.Set("sort", "newest")
	}
	var rooms []roomView
	total := 0
	for {
		page := roomsPage
		if *limit > 0 {
			page = min(page, *limit-len(rooms))
		}
		query.Set("limit", strconv.Itoa(page))
		var v struct {
			Rooms []roomView `json:"rooms"`
			Total int        `json:"total"`
			Next  string     `json:"next"`
		}
		if err := c.get(ctx, "/admin/v1/rooms?"+query.Encode(), &v); err != nil {
			return err
		}
		rooms, total = append(rooms, v.Rooms...), v.Total
		if v.Next == "" || *limit > 0 && len(rooms) >= *limit {
			break
		}
		query.Set("after", v.Next)
	}
	if c.json {
		return printJSON(out, struct {
			Rooms []roomView `json:"rooms"`
			Total int        `json:"total"`
		}{rooms, total})
	}
	if err := printRooms(out, rooms); err != nil {
		return err
	}
	if total > len(rooms) {
		fmt.Fprintf(log, "%d of %d rooms: --limit 0 lists all, --search and --home some\n", len(rooms), total)
	}
	return nil
}
