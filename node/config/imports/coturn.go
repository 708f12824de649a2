package imports

import (
	"fmt"
	"strings"
)

// readCoturn reads "key=value" and keys that stand alone, which mean yes.
func readCoturn(f File) ([]setting, error) {
	var settings []setting
	n := 0
	for line := range strings.Lines(string(f.Text)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			value = "true"
		}
		if key = strings.TrimSpace(key); key == "" || strings.ContainsFunc(key, func(r rune) bool {
			return r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
		}) {
			return nil, fmt.Errorf("%s:%d: neither key nor key=value; %s", f.Name, n, wanted)
		}
		settings = append(settings, setting{f.Name, n, "", strings.ToLower(key), strings.Trim(strings.TrimSpace(value), `"`)})
	}
	return settings, nil
}
