package node

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.yaml.in/yaml/v3"

	"github.com/talkd/talkd/node/config"
)

// metric is one that the program offers.
type metric struct{ name, help, labels string }

var describes = regexp.MustCompile(`fqName: "([^"]*)", help: "((?:[^"\\]|\\.)*)", unit: "[^"]*", constLabels: \{([^}]*)\}, variableLabels: \{([^}]*)\}`)

// offered are all metrics of a node, but those of the language and the process.
func offered(t *testing.T) []metric {
	t.Helper()
	cfg := config.Default()
	cfg.Node.ID, cfg.Node.Data = "n1", t.TempDir()
	for _, addr := range []*string{
		&cfg.HTTP.Listen, &cfg.Admin.Listen, &cfg.Cluster.Listen, &cfg.Cluster.GossipListen, &cfg.Media.Listen, &cfg.Relay.Listen,
	} {
		*addr = "127.0.0.1:0"
	}
	cfg.HTTP.PublicURL = "http://127.0.0.1:1"
	n, err := New(cfg, "1.0", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer n.release()
	descs := make(chan *prometheus.Desc, 1000) // nothing is read before all are there
	n.registry.Describe(descs)
	close(descs)
	labels := map[string]map[string]bool{}
	helps := map[string]string{}
	for d := range descs {
		if !strings.HasPrefix(d.String(), `Desc{fqName: "talkd_`) {
			continue
		}
		m := describes.FindStringSubmatch(d.String())
		if m == nil {
			t.Fatalf("not understood: %s", d)
		}
		if labels[m[1]] == nil {
			labels[m[1]] = map[string]bool{}
		}
		helps[m[1]] = m[2]
		for _, l := range strings.FieldsFunc(m[3]+","+m[4], func(r rune) bool { return r == ',' }) {
			name, _, _ := strings.Cut(l, "=")
			labels[m[1]][name] = true
		}
	}
	var list []metric
	for name, set := range labels {
		var names []string
		for l := range set {
			names = append(names, l)
		}
		slices.Sort(names)
		list = append(list, metric{name, helps[name], strings.Join(names, ", ")})
	}
	slices.SortFunc(list, func(a, b metric) int { return strings.Compare(a.name, b.name) })
	return list
}

// docs/operations.md lists the metrics of the program, no more and no fewer.
func TestMetricsAreDocumented(t *testing.T) {
	list := offered(t)
	if len(list) < 50 {
		t.Fatalf("%d metrics", len(list))
	}
	var b strings.Builder
	b.WriteString("| metric | labels | |\n|---|---|---|\n")
	for _, m := range list {
		labels := ""
		if m.labels != "" {
			labels = "`" + strings.ReplaceAll(m.labels, ", ", "` `") + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", m.name, labels, m.help)
	}
	keepsTable(t, "metrics", b.String())
}

// keepsTable tells whether docs/operations.md has the table of that name as it is to
// be; with UPDATE set it writes it.
func keepsTable(t *testing.T, name, want string) {
	t.Helper()
	const file = "../docs/operations.md"
	begin, end := "<!-- "+name+": written by UPDATE=1 go test ./node -->\n", "<!-- end of "+name+" -->"
	doc, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(doc), begin)
	table, tail, ended := strings.Cut(rest, end)
	if !ok || !ended {
		t.Fatalf("%s has no place for the table %s", file, name)
	}
	if table == want {
		return
	}
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(file, []byte(head+begin+want+end+tail), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("%s: the table %s is not what the program has: UPDATE=1 go test ./node writes it anew", file, name)
}

// Names follow the conventions of Prometheus, and no label has as many values
// as there are rooms, sessions or people.
func TestMetricNames(t *testing.T) {
	units := regexp.MustCompile(`_(total|seconds|bytes|ratio|info|streams|index)$`)
	// Things that are counted at a moment, or states of 0 and 1.
	plain := regexp.MustCompile(`_(ready|leader|leader_known|lease|term|voters|voters_alive|failure_tolerance|rooms|home_rooms|sessions|draining_rooms|draining_sessions|versions|members|followers|connections|links|pulls|flows|publishers|subscribers|joining|message_datagrams|given_up|instances|counters|session_limit)$`)
	bounded := []string{
		"", "backend", "code", "direction", "door", "go", "key", "kind", "kind, phase", "kind, result", "outcome", "path", "phase", "profile", "protocol", "queue", "reason", "result",
		"result, side", "state", "status", "type", "version", "go, version", "what", "where",
	}
	for _, m := range offered(t) {
		if !units.MatchString(m.name) && !plain.MatchString(m.name) {
			t.Errorf("%s has no unit", m.name)
		}
		if !slices.Contains(bounded, m.labels) {
			t.Errorf("%s has the labels %s: are they bounded?", m.name, m.labels)
		}
		if !strings.HasSuffix(m.help, ".") {
			t.Errorf("%s: %q is no sentence", m.name, m.help)
		}
	}
}

// What the dashboards and alerts that come with talkd ask for is there.
func TestDeployedFilesKnowTheMetrics(t *testing.T) {
	known := map[string]bool{}
	for _, m := range offered(t) {
		known[m.name] = true
	}
	for file, parse := range map[string]func([]byte, any) error{
		"../deploy/grafana/talkd.json": json.Unmarshal, "../deploy/prometheus/alerts.yml": yaml.Unmarshal,
	} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var whole map[string]any
		if err := parse(b, &whole); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		names := regexp.MustCompile(`\btalkd_[a-z0-9_]+`).FindAllString(string(b), -1)
		if len(names) < 10 {
			t.Errorf("%s asks for %d metrics", file, len(names))
		}
		for _, name := range names {
			base := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")
			if !known[name] && !known[base] {
				t.Errorf("%s asks for %s, which there is not", file, name)
			}
		}
	}
}

// An alert says what happened and what to do, in sentences.
func TestAlertsHaveRunbooks(t *testing.T) {
	b, err := os.ReadFile(filepath.FromSlash("../deploy/prometheus/alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	alerts := 0
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			alerts++
			if !strings.HasPrefix(r.Alert, "Talkd") || r.Expr == "" || r.Labels["severity"] == "" {
				t.Errorf("%+v", r)
			}
			for _, key := range []string{"summary", "runbook"} {
				if text := r.Annotations[key]; !strings.HasSuffix(strings.TrimSpace(text), ".") {
					t.Errorf("%s: %s %q", r.Alert, key, text)
				}
			}
		}
	}
	if alerts < 10 {
		t.Errorf("%d alerts", alerts)
	}
}

// systemd waits for a node that drains.
func TestUnitWaitsForDrain(t *testing.T) {
	b, err := os.ReadFile("../deploy/systemd/talkd.service")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^TimeoutStopSec=(\d+)$`).FindStringSubmatch(string(b))
	if m == nil {
		t.Fatal("the unit has no TimeoutStopSec")
	}
	if wait, err := time.ParseDuration(m[1] + "s"); err != nil || wait < config.Default().Node.DrainTimeout+15*time.Second {
		t.Errorf("TimeoutStopSec=%s, %v: shorter than node.drain_timeout and what follows it", m[1], err)
	}
}
