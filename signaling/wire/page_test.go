package wire

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
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
