package api

import (
	"os"
	"regexp"
	"slices"
	"testing"
)

// TestDocs keeps docs/api.md equal to the routes: each is named there, and
// nothing else.
func TestDocs(t *testing.T) {
	b, err := os.ReadFile("../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for _, m := range regexp.MustCompile("(?m)^\\| `((?:GET|POST|PUT|DELETE) [^`]+)` \\|").FindAllStringSubmatch(string(b), -1) {
		documented = append(documented, m[1])
	}
	served := []string{"GET /status.php"}
	for _, r := range newFixture(t).table() {
		served = append(served, r.method+" "+r.path)
	}
	admin, _ := newAdmin(t)
	for _, r := range admin.table() {
		path := r.path
		if path == "/{$}" {
			path = "/"
		}
		served = append(served, r.method+" "+path)
	}
	slices.Sort(documented)
	slices.Sort(served)
	for _, r := range served {
		if !slices.Contains(documented, r) {
			t.Errorf("docs/api.md does not name %s", r)
		}
	}
	for _, r := range documented {
		if !slices.Contains(served, r) {
			t.Errorf("docs/api.md names %s, which is not served", r)
		}
	}
	if len(documented) != len(served) {
		t.Errorf("%d routes in docs/api.md, %d served", len(documented), len(served))
	}
}
