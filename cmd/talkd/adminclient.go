package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/talkd/talkd/node/config"
)

// adminClient talks to the admin listener of a running node.
type adminClient struct {
	base, token string
	json        bool
}

// adminFlags adds the flags that every command to a running node takes.
func adminFlags(f *flag.FlagSet) *adminClient {
	c := new(adminClient)
	f.StringVar(&c.base, "admin", env("TALKD_ADMIN", "http://127.0.0.1:8081"), "`URL` of the node's admin listener (TALKD_ADMIN)")
	secretFlag(f, &c.token, "token", "TALKD_TOKEN", "admin `TOKEN` (TALKD_TOKEN; default: DATA/admin.token)")
	f.BoolVar(&c.json, "json", false, "print JSON")
	return c
}

// secretFlag adds a flag that the environment may set. What it says there is no
// default of the flag, which --help would show.
func secretFlag(f *flag.FlagSet, value *string, name, variable, words string) {
	f.StringVar(value, name, "", words)
	*value = os.Getenv(variable)
}

func env(name, fallback string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return fallback
}

// do sends body as JSON, unless nil, and returns the answer's body, which the
// caller closes.
func (c *adminClient) do(ctx context.Context, method, path string, body any) (io.ReadCloser, error) {
	var payload io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		payload = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(c.base, "/")+path, payload)
	if err != nil {
		return nil, usage("--admin: %v", err)
	}
	if c.token == "" {
		file := filepath.Join(config.Default().Node.Data, config.AdminTokenFile)
		b, err := os.ReadFile(file)
		switch {
		case errors.Is(err, os.ErrNotExist):
			return nil, fmt.Errorf("no admin token, as there is no %s here: give --token or TALKD_TOKEN (the node wrote it to DATA/admin.token)", file)
		case err != nil:
			return nil, fmt.Errorf("no admin token: %w", err)
		}
		c.token = strings.TrimSpace(string(b))
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil && ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("no node answers at %s (another one: --admin URL): %w", c.base, errors.Unwrap(err))
	}
	if resp.StatusCode < 300 {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusUnauthorized {
		return nil, errors.New("the node refuses the token: give the one in its DATA/admin.token by --token")
	}
	var failure struct {
		Error string `json:"error"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&failure); err != nil || failure.Error == "" {
		return nil, fmt.Errorf("what answers at %s is no node of talkd, or an older one (another: --admin URL): %s to %s %s", c.base, resp.Status, method, path)
	}
	return nil, errors.New(failure.Error)
}

// call sends a request and reads the JSON answer into v. With --json the answer
// is printed as it is, and done is true.
func (c *adminClient) call(ctx context.Context, method, path string, body, v any, out io.Writer) (done bool, err error) {
	answer, err := c.do(ctx, method, path, body)
	if err != nil {
		return false, err
	}
	defer answer.Close()
	if c.json {
		text, err := io.ReadAll(answer)
		if err == nil {
			_, err = fmt.Fprintf(out, "%s\n", bytes.TrimSpace(text))
		}
		return true, err
	}
	if v == nil {
		return false, nil
	}
	return false, c.read(answer, v)
}

func (c *adminClient) read(answer io.Reader, v any) error {
	if err := json.NewDecoder(answer).Decode(v); err != nil {
		return fmt.Errorf("what answers at %s is no node of talkd, or an older one (another: --admin URL): %w", c.base, err)
	}
	return nil
}

// get reads a JSON answer into v.
func (c *adminClient) get(ctx context.Context, path string, v any) error {
	return c.ask(ctx, http.MethodGet, path, v)
}

func (c *adminClient) ask(ctx context.Context, method, path string, v any) error {
	answer, err := c.do(ctx, method, path, nil)
	if err != nil {
		return err
	}
	defer answer.Close()
	return c.read(answer, v)
}

// printJSON writes one line.
func printJSON(out io.Writer, v any) error { return json.NewEncoder(out).Encode(v) }
