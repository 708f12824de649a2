package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/talkd/talkd/signaling/backend"
)

const backendWords = "add URL[,URL…] | list | remove URL"

// backendList is the answer to GET /admin/v1/backends.
type backendList struct {
	Backends []struct {
		ID               string   `json:"id"`
		URL              string   `json:"url"`
		MoreURLs         []string `json:"more_urls"`
		Source           string   `json:"source"`
		Sessions         int      `json:"sessions"`
		MaxSessions      int      `json:"max_sessions"`
		MaxVideoBitrate  int      `json:"max_video_bitrate"`
		MaxScreenBitrate int      `json:"max_screen_bitrate"`
	} `json:"backends"`
}

// find is the id of a Nextcloud by its URL or its id. The nodes make the id of the URL,
// so that it does not matter how that is written.
func (l backendList) find(name string) (id string, ok bool) {
	of, err := backend.IDOf(name)
	for _, b := range l.Backends {
		if b.ID == name || err == nil && b.ID == string(of) {
			return b.ID, true
		}
	}
	return "", false
}

// backendCommand changes which Nextclouds the cluster serves.
func backendCommand(ctx context.Context, args []string, out, log io.Writer) error {
	if len(args) == 0 {
		return usage("backend %s", backendWords)
	}
	f := flags("backend "+args[0], log)
	c := adminFlags(f)
	switch args[0] {
	case "add":
		secretFile := f.String("secret-file", "", "`FILE` with the shared secret; without it one is made, or kept if the Nextcloud is known")
		sessions := f.Int("max-sessions", 0, "`N` sessions in the whole cluster; 0: no limit")
		video := f.Int("max-video-bitrate", 0, "`BIT/S` of a camera stream; 0: as everybody")
		screen := f.Int("max-screen-bitrate", 0, "`BIT/S` of a screen stream; 0: as everybody")
		operands, err := parse(f, args[1:], "URL")
		if err != nil {
			return err
		}
		return c.addBackend(ctx, strings.Split(operands[0], ","), *secretFile, map[string]any{
			"max_sessions": *sessions, "max_video_bitrate": *video, "max_screen_bitrate": *screen,
		}, out)
	case "list":
		if _, err := parse(f, args[1:]); err != nil {
			return err
		}
		var l backendList
		if done, err := c.call(ctx, http.MethodGet, "/admin/v1/backends", nil, &l, out); done || err != nil {
			return err
		}
		return table(out, func(w io.Writer) {
			fmt.Fprintln(w, "NEXTCLOUD\tID\tFROM\tSESSIONS\tOF\tVIDEO BIT/S\tSCREEN BIT/S")
			for _, b := range l.Backends {
				urls := strings.Join(append([]string{b.URL}, b.MoreURLs...), ",")
				fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\t%s\n", urls, b.ID, b.Source, b.Sessions, limit(b.MaxSessions), limit(b.MaxVideoBitrate), limit(b.MaxScreenBitrate))
			}
		})
	case "remove":
		operands, err := parse(f, args[1:], "URL")
		if err != nil {
			return err
		}
		var l backendList
		if err := c.get(ctx, "/admin/v1/backends", &l); err != nil {
			return err
		}
		id, ok := l.find(operands[0])
		if !ok {
			return fmt.Errorf("no Nextcloud %s is served; talkd backend list names them", operands[0])
		}
		_, err = c.call(ctx, http.MethodDelete, "/admin/v1/backends/"+id, nil, nil, out)
		return err
	default:
		return usage("backend %q: %s", args[0], backendWords)
	}
}

// addBackend adds a Nextcloud, or changes its other URLs and its limits: it has those that
// are given. A secret that is made is
// printed, to be entered there: a command line can be read by everybody on the
// machine, so that none is taken from it.
func (c *adminClient) addBackend(ctx context.Context, urls []string, secretFile string, body map[string]any, out io.Writer) error {
	body["url"], body["more_urls"] = urls[0], urls[1:]
	made := ""
	if secretFile != "" {
		b, err := os.ReadFile(secretFile)
		if err != nil {
			return err
		}
		body["secret"] = strings.TrimSpace(string(b))
	} else {
		var l backendList
		if err := c.get(ctx, "/admin/v1/backends", &l); err != nil {
			return err
		}
		if _, known := l.find(urls[0]); !known {
			made = newSecret()
			body["secret"] = made
		}
	}
	answer, err := c.do(ctx, http.MethodPost, "/admin/v1/backends", body)
	if err != nil {
		return err
	}
	defer answer.Close()
	if c.json {
		view := make(map[string]any)
		if err := json.NewDecoder(answer).Decode(&view); err != nil {
			return err
		}
		if made != "" {
			view["secret"] = made // nobody else tells it
		}
		return printJSON(out, view)
	}
	if made == "" {
		_, err := fmt.Fprintf(out, "%s is served by all nodes\n", strings.Join(urls, ","))
		return err
	}
	_, err = fmt.Fprintf(out, "%s is served by all nodes. Enter this secret there, in the settings of Talk, high-performance backend:\n%s\n", strings.Join(urls, ","), made)
	return err
}

// newSecret is good for a Nextcloud.
func newSecret() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	return hex.EncodeToString(b[:])
}

// limit is a number of which 0 means none.
func limit(n int) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}
