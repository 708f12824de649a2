package devcluster

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/talkd/talkd/node/config"
)

// The test binary stands in for talkd: started as "serve --config FILE" it is
// a node as far as this package sees one.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "serve" {
		if err := serve(os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// How a node of the tests behaves, by its region.
const (
	stubborn = "stubborn" // does not stop at SIGTERM
	broken   = "broken"   // ends at once
)

// The operate token is long, like a real one.
const operateToken = "operate-token-of-the-tests"

func serve(file string) error {
	c, err := config.Load(file, nil)
	if err != nil {
		return err
	}
	if err := c.Complete(); err != nil {
		return err
	}
	if err := c.Validate(); err != nil {
		return err
	}
	if c.Node.Region == broken {
		return fmt.Errorf("this node is broken on purpose")
	}
	if err := os.MkdirAll(c.Node.Data, 0o700); err != nil {
		return err
	}
	joined := filepath.Join(c.Node.Data, "node.crt")
	if _, err := os.Stat(joined); err != nil && len(c.Cluster.Join) > 0 && !strings.HasPrefix(c.Cluster.JoinToken, "tj1_") {
		return fmt.Errorf("no join token")
	}
	if err := os.WriteFile(joined, []byte("x"), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(c.Node.Data, "admin.token"), []byte(operateToken+"\n"), 0o600); err != nil {
		return err
	}
	asked := 0
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if asked++; asked < 3 { // not ready at once
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	allowed := func(h http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer "+operateToken {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			h(w, r)
		}
	}
	tokens := 0
	mux.HandleFunc("POST /admin/v1/join-tokens", allowed(func(w http.ResponseWriter, _ *http.Request) {
		tokens++
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(map[string]string{"token": fmt.Sprintf("tj1_%d", tokens)})
	}))
	mux.HandleFunc("GET /admin/v1/cluster", allowed(func(w http.ResponseWriter, _ *http.Request) {
		asked++ // the others do not vote at once
		nodes := []map[string]string{{"raft": "voter"}}
		if asked > 4 {
			nodes = append(nodes, nodes[0], nodes[0])
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"leader": c.Node.ID, "nodes": nodes})
	}))
	l, err := net.Listen("tcp", c.Admin.Listen) //nolint:noctx // this process ends by a signal
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	go func() { _ = http.Serve(l, mux) }()
	<-signals
	if c.Node.Region == stubborn {
		select {}
	}
	fmt.Println("stopped")
	return nil
}
