package imports

import (
	"fmt"
	"strings"
)

// readINI reads sections of "key = value" or "key: value"; comments begin with # or ;, also behind a
// value and a blank. The last of several values counts.
func readINI(f File) ([]setting, error) {
	var settings []setting
	section, n := "", 0
	for line := range strings.Lines(string(f.Text)) {
		n++
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
		case line[0] == '[':
			name, rest, ok := strings.Cut(line[1:], "]")
			if rest = strings.TrimSpace(rest); !ok || name == "" || rest != "" && rest[0] != '#' && rest[0] != ';' {
				return nil, fmt.Errorf("%s:%d: no [section]", f.Name, n)
			}
			section = strings.ToLower(strings.TrimSpace(name))
		default:
			i := strings.IndexAny(line, "=:")
			if i < 1 || section == "" {
				return nil, fmt.Errorf("%s:%d: neither [section] nor key = value", f.Name, n)
			}
			settings = append(settings, setting{
				f.Name, n, section, strings.ToLower(strings.TrimSpace(line[:i])), withoutComment(strings.TrimSpace(line[i+1:])),
			})
		}
	}
	return settings, nil
}

func withoutComment(value string) string {
	for i := range value {
		if (value[i] == '#' || value[i] == ';') && (i == 0 || value[i-1] == ' ' || value[i-1] == '\t') {
			return strings.TrimSpace(value[:i])
		}
	}
	return value
}
