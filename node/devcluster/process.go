package devcluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/talkd/talkd/node/config"
)

// process is one node of the cluster.
type process struct {
	id, dir       string
	http, admin   string // base URLs
	cluster       string // host:port of Raft and RPC
	joinTokenFile string
	cmd           *exec.Cmd
	exited        chan struct{} // closed when the process is gone; cmd.ProcessState is set before
}

// awaitReady polls the node's own answer, until it takes traffic.
func (p *process) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-p.exited:
			return fmt.Errorf("%s ended at its start (%s):\n%s", p.id, p.cmd.ProcessState, p.tail())
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w; its log ends:\n%s", p.id, context.Cause(ctx), p.tail())
		case <-tick.C:
			if _, err := p.call(ctx, http.MethodGet, "/readyz", nil); err == nil {
				return nil
			}
		}
	}
}

// token reads the operate token that the node wrote at its first start.
func (p *process) token() (string, error) {
	b, err := os.ReadFile(filepath.Join(p.dir, "data", config.AdminTokenFile))
	return strings.TrimSpace(string(b)), err
}

// invite gives the joining node its single-use token. A node that joined at an
// earlier start of this cluster has its certificate and needs none.
func (o Options) invite(ctx context.Context, first, joining *process) error {
	if _, err := os.Stat(filepath.Join(joining.dir, "data", "node.crt")); err == nil {
		return nil
	}
	answer, err := first.call(ctx, http.MethodPost, "/admin/v1/join-tokens", map[string]string{})
	if err != nil {
		return fmt.Errorf("no join token for %s: %w", joining.id, err)
	}
	var made struct {
		Token string `json:"token"`
	}
	if err := json.Unmarshal(answer, &made); err != nil {
		return err
	}
	return os.WriteFile(joining.joinTokenFile, []byte(made.Token+"\n"), 0o600)
}

func (p *process) leader(ctx context.Context) (string, error) {
	answer, err := p.call(ctx, http.MethodGet, "/admin/v1/cluster", nil)
	if err != nil {
		return "", err
	}
	var cluster struct {
		Leader string `json:"leader"`
	}
	return cluster.Leader, json.Unmarshal(answer, &cluster)
}

// call asks the node's admin listener.
func (p *process) call(ctx context.Context, method, path string, body any) ([]byte, error) {
	var payload io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		payload = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, p.admin+path, payload)
	if err != nil {
		return nil, err
	}
	if token, err := p.token(); err == nil {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 {
		return nil, fmt.Errorf("%s %s: %s", method, path, resp.Status)
	}
	return b, nil
}
