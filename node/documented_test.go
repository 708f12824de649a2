package node

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Each alias is of a metric that there is, with the label that it keeps, and docs/operations.md
// lists all of them.
func TestDocumentedNames(t *testing.T) {
	labels := map[string]string{}
	for _, m := range offered(t) {
		labels[m.name] = m.labels
	}
	var b strings.Builder
	b.WriteString("| metric | labels | is |\n|---|---|---|\n")
	last := ""
	for _, a := range aliases {
		has, ok := labels[a.of]
		if !ok || a.label != "" && !strings.Contains(has, a.label) || a.name <= last {
			t.Errorf("%+v: labels %q", a, has)
		}
		last = a.name
		label, is := "", "`"+a.of+"`"
		if a.label != "" {
			label = "`" + a.label + "`"
		}
		if a.count {
			is += ", how often"
		}
		if a.only != "" {
			is += ", `" + a.only + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", a.name, label, is)
	}
	keepsTable(t, "documented", b.String())

	b.Reset()
	b.WriteString("| metric | why not |\n|---|---|\n")
	last = ""
	for _, m := range missing {
		if m.name <= last || slices.ContainsFunc(aliases, func(a alias) bool { return a.name == m.name }) {
			t.Errorf("%s is in its place twice, or is there", m.name)
		}
		last = m.name
		fmt.Fprintf(&b, "| `%s` | %s |\n", m.name, m.why)
		for _, ours := range regexp.MustCompile("`(talkd_[a-z_]+)`").FindAllStringSubmatch(m.why, -1) {
			if _, ok := labels[ours[1]]; !ok {
				t.Errorf("%s: there is no %s", m.name, ours[1])
			}
		}
	}
	keepsTable(t, "missing", b.String())
	// As of version 2.1.0.
	if n := len(aliases) + len(missing); n != documentedNames {
		t.Errorf("%d names, the signaling server documents %d", n, documentedNames)
	}
}

const documentedNames = 63

// What is shown again is what ours say at the same moment.
func TestDocumentedValues(t *testing.T) {
	r := prometheus.NewRegistry()
	gauge := prometheus.NewGauge(prometheus.GaugeOpts{Name: "talkd_media_publishers"})
	rooms := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "talkd_signaling_backend_rooms"}, []string{"backend"})
	overflows := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "talkd_signaling_overflows_total"}, []string{"queue"})
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "talkd_backend_request_seconds", Buckets: []float64{1, 2}}, []string{"kind", "result"})
	r.MustRegister(gauge, rooms, overflows, seconds)
	gauge.Set(7)
	rooms.WithLabelValues("a").Set(2)
	rooms.WithLabelValues("b").Set(3)
	overflows.WithLabelValues("sessions").Add(4)
	overflows.WithLabelValues("slow").Add(5)
	seconds.WithLabelValues("auth", "done").Observe(0.5)
	seconds.WithLabelValues("room", "done").Observe(1.5)
	seconds.WithLabelValues("room", "failed").Observe(3)
	page := httptest.NewRecorder()
	promhttp.HandlerFor(documented{r}, promhttp.HandlerOpts{}).ServeHTTP(page, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	var got strings.Builder
	for line := range strings.Lines(page.Body.String()) {
		if strings.HasPrefix(line, "signaling_") || strings.HasPrefix(line, "# TYPE signaling_") {
			got.WriteString(line)
		}
	}
	const want = `# TYPE signaling_backend_client_requests_duration histogram
signaling_backend_client_requests_duration_bucket{le="1"} 1
signaling_backend_client_requests_duration_bucket{le="2"} 2
signaling_backend_client_requests_duration_bucket{le="+Inf"} 3
signaling_backend_client_requests_duration_sum 5
signaling_backend_client_requests_duration_count 3
# TYPE signaling_backend_client_requests_errors_total counter
signaling_backend_client_requests_errors_total 1
# TYPE signaling_backend_client_requests_total counter
signaling_backend_client_requests_total 3
# TYPE signaling_backend_session_limit_exceeded_total counter
signaling_backend_session_limit_exceeded_total 4
# TYPE signaling_hub_rooms gauge
signaling_hub_rooms{backend="a"} 2
signaling_hub_rooms{backend="b"} 3
# TYPE signaling_mcu_publishers gauge
signaling_mcu_publishers 7
`
	if got.String() != want {
		t.Errorf("got\n%s", got.String())
	}
	if page.Code != http.StatusOK || !strings.Contains(page.Body.String(), "\ntalkd_media_publishers 7\n") {
		t.Errorf("status %d:\n%s", page.Code, page.Body)
	}
}

// What has not happened yet takes nothing else from the page.
func TestDocumentedWithoutValues(t *testing.T) {
	r := prometheus.NewRegistry()
	gauge := prometheus.NewGauge(prometheus.GaugeOpts{Name: "talkd_media_publishers"})
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "talkd_backend_request_seconds", Buckets: []float64{1}}, []string{"kind", "result"})
	r.MustRegister(gauge, seconds)
	seconds.WithLabelValues("auth", "done").Observe(0.5)
	page := httptest.NewRecorder()
	promhttp.HandlerFor(documented{r}, promhttp.HandlerOpts{}).ServeHTTP(page, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	if text := page.Body.String(); !strings.Contains(text, "\ntalkd_media_publishers 0\n") || strings.Contains(text, "errors_total") {
		t.Errorf("the page is\n%s", text)
	}
}
