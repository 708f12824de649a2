package wire

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestProtocolPage keeps docs/protocol.md true: it names every error code, no
// other ones, and only tests that are there.
func TestProtocolPage(t *testing.T) {
	root := filepath.Join("..", "..")
	page, err := os.ReadFile(filepath.Join(root, "docs", "protocol.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(page), "## Error codes\n")
	if !found {
		t.Fatal("no section about error codes")
	}
	section, _, _ = strings.Cut(section, "\nOther codes")
	listed := make(map[Code]bool)
	for line := range strings.Lines(section) {
		if cells := strings.Split(line, "|"); len(cells) > 1 {
			for _, m := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(cells[1], -1) {
				listed[Code(m[1])] = true
			}
		}
	}
	known := map[Code]bool{CodeRedirect: true}
	for _, c := range codes {
		known[c.code] = true
	}
	for code := range known {
		if !listed[code] {
			t.Errorf("the page lacks %s", code)
		}
	}
	for code := range listed {
		if !known[code] {
			t.Errorf("the page has %s, the code has not", code)
		}
	}
	tests := testsBelow(t, filepath.Join(root, "signaling"), filepath.Join(root, "media"), filepath.Join(root, "test"))
	for _, m := range regexp.MustCompile("`(Test[A-Za-z0-9_]+)`").FindAllStringSubmatch(string(page), -1) {
		if !tests[m[1]] {
			t.Errorf("the page names %s, which is not there", m[1])
		}
	}
}

// TestProtocolPageIsWhole: whatever the code knows by name has a row, and each row a
// test.
func TestProtocolPageIsWhole(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "protocol.md"))
	if err != nil {
		t.Fatal(err)
	}
	tables := tablesOf(string(page))
	for _, row := range slices.Concat(slices.Collect(maps.Values(tables))...) {
		if !strings.Contains(row[len(row)-1], "`Test") {
			t.Errorf("no test proves %s", row[0])
		}
	}
	const requests = "request to `POST /api/v1/room/{roomid}` of any node"
	for _, group := range []struct {
		dir, prefix string // of the constants
		table       string // by its first heading
		cells       int    // of a row, that may have the name
	}{
		{".", "Feature", "of the server", 1},
		{".", "Client", "of the client", 1},
		{".", "Type", "type", 1},
		{".", "Internal", "type", 1},
		{".", "Transient", "type", 2},
		{".", "Auth", "type", 2},
		{".", "Move", "type", 2},
		{".", "Target", "target", 1},
		{".", "Event", "target", 2},
		{".", "Reason", "target", 3},
		{".", "Media", "`data.type`", 1},
		{".", "Bye", "reason of `bye`", 1},
		{filepath.Join("..", "backend"), "Type", requests, 1},
	} {
		names := constants(t, group.dir, group.prefix)
		if len(names) == 0 || len(tables[group.table]) == 0 {
			t.Errorf("%s…: %d constants, %d rows", group.prefix, len(names), len(tables[group.table]))
		}
		for _, name := range names {
			if !slices.ContainsFunc(tables[group.table], func(row []string) bool {
				return strings.Contains(strings.Join(row[:group.cells], " "), "`"+name+"`")
			}) {
				t.Errorf("%s… has %s, the page no row for it", group.prefix, name)
			}
		}
	}
	features := constants(t, ".", "Feature")
	for _, row := range tables["of the server"] {
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[0], -1) {
			if !slices.Contains(features, m[1]) {
				t.Errorf("the page has the feature %s, the code has not", m[1])
			}
		}
	}
}

// tablesOf gives the rows of the tables that name tests, by the first heading; two
// with the same one are one.
func tablesOf(page string) map[string][][]string {
	tables := make(map[string][][]string)
	var name string
	for line := range strings.Lines(page) {
		line = strings.TrimSpace(line)
		switch {
		case !strings.HasPrefix(line, "| "):
			name = ""
		case strings.HasSuffix(line, "| proved by |"):
			name = cellsOf(line)[0]
		case name != "" && !strings.HasPrefix(line, "| ---"):
			tables[name] = append(tables[name], cellsOf(line))
		}
	}
	return tables
}

func cellsOf(line string) []string {
	return strings.Split(strings.TrimSuffix(strings.TrimPrefix(line, "| "), " |"), " | ")
}

// constants gives the values of a package's texts whose names begin so.
func constants(t *testing.T, dir, prefix string) (values []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	declared := regexp.MustCompile(`(?m)^(?:const )?\t?` + prefix + `[A-Z]\w* +(?:\w+ +)?= "([^"]+)"`)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range declared.FindAllStringSubmatch(string(text), -1) {
			values = append(values, m[1])
		}
	}
	return values
}

func testsBelow(t *testing.T, dirs ...string) map[string]bool {
	t.Helper()
	names := make(map[string]bool)
	declared := regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9_]+)\(`)
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			for _, m := range declared.FindAllSubmatch(text, -1) {
				names[string(m[1])] = true
			}
			return err
		})
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	return names
}
