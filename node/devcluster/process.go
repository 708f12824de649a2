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

	"github.com/talkd/talkd/cluster"
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
	return p.await(ctx, "is not ready", func() bool {
		_, err := p.call(ctx, http.MethodGet, "/readyz", nil)
		return err == nil
	})
}

// await polls; otherwise is what is said of the node when that was in vain.
func (p *process) await(ctx context.Context, otherwise string, holds func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-p.exited:
			return fmt.Errorf("%s ended at its start (%s):\n%s", p.id, p.cmd.ProcessState, p.tail())
		case <-ctx.Done():
			return fmt.Errorf("%s %s: %w; its log ends:\n%s", p.id, otherwise, context.Cause(ctx), p.tail())
		case <-tick.C:
			if holds() {
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

// awaitVoters waits until all servers vote that should, so that any of them may
// be killed from then on, and gives the leader.
func (p *process) awaitVoters(ctx context.Context, servers int) (leader string, err error) {
	want := cluster.VotersOf(servers)
	err = p.await(ctx, "has too few voters", func() bool {
		answer, err := p.call(ctx, http.MethodGet, "/admin/v1/cluster", nil)
		if err != nil {
			return false
		}
		var seen struct {
			Leader string `json:"leader"`
			Nodes  []struct {
				Raft string `json:"raft"`
			} `json:"nodes"`
		}
		if json.Unmarshal(answer, &seen) != nil {
			return false
		}
		voters := 0
		for _, n := range seen.Nodes {
			if n.Raft == "voter" {
				voters++
			}
		}
		leader = seen.Leader
		return voters >= want && leader != ""
	})
	return leader, err
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
