package imports

import (
	"fmt"
	"strings"
	"unicode"
)

// maxDepth bounds groups in groups.
const maxDepth = 32

// readJCFG reads settings of libconfig, whose format Janus uses: name = value or name: value, in groups
// name: { … }, with arrays and lists, and comments of the shell, of C and of C++. Of a group in a group
// the section is "outer.inner"; of an array the value is its texts, separated by commas.
func readJCFG(f File) ([]setting, error) {
	r := &jcfg{file: f.Name, text: string(f.Text), line: 1}
	if err := r.group("", 0); err != nil {
		return nil, err
	}
	return r.settings, nil
}

type jcfg struct {
	file, text string // what is yet to be read
	line       int
	settings   []setting
}

func (r *jcfg) wrong(what string) error { return fmt.Errorf("%s:%d: %s", r.file, r.line, what) }

// skip skips n bytes.
func (r *jcfg) skip(n int) {
	r.line += strings.Count(r.text[:n], "\n")
	r.text = r.text[n:]
}

// blank skips what has no meaning.
func (r *jcfg) blank() error {
	for {
		r.skip(len(r.text) - len(strings.TrimLeftFunc(r.text, unicode.IsSpace)))
		switch {
		case strings.HasPrefix(r.text, "#"), strings.HasPrefix(r.text, "//"):
			end := strings.IndexByte(r.text, '\n')
			if end < 0 {
				end = len(r.text)
			}
			r.skip(end)
		case strings.HasPrefix(r.text, "/*"):
			end := strings.Index(r.text, "*/")
			if end < 0 {
				return r.wrong("a comment that does not end")
			}
			r.skip(end + 2)
		default:
			return nil
		}
	}
}

// next is the byte that comes next, after blanks; 0 at the end.
func (r *jcfg) next() (byte, error) {
	if err := r.blank(); err != nil || r.text == "" {
		return 0, err
	}
	return r.text[0], nil
}

// group reads settings up to its brace, or the end of the file.
func (r *jcfg) group(section string, depth int) error {
	if depth > maxDepth {
		return r.wrong("too many groups in each other")
	}
	for {
		c, err := r.next()
		switch {
		case err != nil:
			return err
		case c == 0 && depth == 0, c == '}' && depth > 0:
			return nil
		case c == 0:
			return r.wrong("a group that does not end")
		case c == ';' || c == ',':
			r.skip(1)
			continue
		case c == '@':
			return r.wrong("files that include others are not read; name those too")
		}
		if err := r.setting(section, depth); err != nil {
			return err
		}
	}
}

func (r *jcfg) setting(section string, depth int) error {
	line, name := r.line, r.word()
	if name == "" {
		return r.wrong("no name of a setting")
	}
	if c, err := r.next(); err != nil {
		return err
	} else if c != '=' && c != ':' {
		return r.wrong("no = or : behind a name")
	}
	r.skip(1)
	inner := strings.ToLower(name)
	if section != "" {
		inner = section + "." + inner
	}
	value, group, err := r.value(inner, depth)
	if err != nil || group {
		return err
	}
	r.settings = append(r.settings, setting{r.file, line, section, strings.ToLower(name), value})
	return nil
}

// value reads a text, a number, an array or a list; of a group it reads the settings.
func (r *jcfg) value(section string, depth int) (value string, group bool, err error) {
	c, err := r.next()
	if err != nil {
		return "", false, err
	}
	switch c {
	case '{':
		r.skip(1)
		if err := r.group(section, depth+1); err != nil {
			return "", false, err
		}
		r.skip(1) // its brace
		return "", true, nil
	case '[', '(':
		r.skip(1)
		value, err = r.list(map[byte]byte{'[': ']', '(': ')'}[c], section, depth+1)
		return value, false, err
	case '"':
		value, err = r.quoted()
		return value, false, err
	}
	if value = r.word(); value == "" {
		err = r.wrong("no value")
	}
	return value, false, err
}

func (r *jcfg) list(end byte, section string, depth int) (string, error) {
	if depth > maxDepth {
		return "", r.wrong("too many lists in each other")
	}
	var values []string
	for {
		c, err := r.next()
		switch {
		case err != nil:
			return "", err
		case c == 0:
			return "", r.wrong("a list that does not end")
		case c == ',':
			r.skip(1)
			continue
		case c == end:
			r.skip(1)
			return strings.Join(values, ","), nil
		}
		value, group, err := r.value(section, depth)
		if err != nil {
			return "", err
		}
		if !group {
			values = append(values, value)
		}
	}
}

// quoted reads a text, and those that follow it at once: they are one.
func (r *jcfg) quoted() (string, error) {
	var b strings.Builder
	for {
		r.skip(1)
		for {
			i := strings.IndexAny(r.text, "\"\\\n")
			if i < 0 || r.text[i] == '\n' || r.text[i] == '\\' && i+1 == len(r.text) {
				return "", r.wrong("a text that does not end")
			}
			b.WriteString(r.text[:i])
			if r.text[i] == '"' {
				r.skip(i + 1)
				break
			}
			b.WriteByte(r.text[i+1])
			r.skip(i + 2)
		}
		if c, err := r.next(); err != nil || c != '"' {
			return b.String(), err
		}
	}
}

// word reads a name or a number.
func (r *jcfg) word() string {
	end := strings.IndexFunc(r.text, func(c rune) bool {
		return !unicode.IsLetter(c) && !unicode.IsDigit(c) && !strings.ContainsRune("_-.+*", c)
	})
	if end < 0 {
		end = len(r.text)
	}
	w := r.text[:end]
	r.skip(end)
	return w
}
