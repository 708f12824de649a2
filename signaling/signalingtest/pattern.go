package signalingtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// names holds the values that placeholders stand for.
type names map[string]string

// placeholder is <name> anywhere in a string.
var placeholder = regexp.MustCompile(`<[a-z][a-z0-9._-]*>`)

// anything matches any value; as a name in an object it allows further members.
const anything = "*"

// fill puts the values of placeholders into the strings of a JSON text.
func (n names) fill(text []byte) ([]byte, error) {
	v, err := parseJSON(text)
	if err != nil {
		return nil, err
	}
	filled, err := n.fillValue(v)
	if err != nil {
		return nil, err
	}
	return json.Marshal(filled)
}

func (n names) fillValue(v any) (any, error) {
	var err error
	switch v := v.(type) {
	case string:
		return n.fillString(v)
	case []any:
		for i := range v {
			if v[i], err = n.fillValue(v[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for k := range v {
			if v[k], err = n.fillValue(v[k]); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}

func (n names) fillString(s string) (string, error) {
	var missing string
	filled := placeholder.ReplaceAllStringFunc(s, func(p string) string {
		value, ok := n[p[1:len(p)-1]]
		if !ok {
			missing = p
		}
		return value
	})
	if missing != "" {
		return "", fmt.Errorf("%s stands for nothing yet", missing)
	}
	return filled, nil
}

// match compares a JSON text with a pattern. If it fits, the placeholders that
// stood for nothing stand for what they met; otherwise n is as before.
func (n names) match(pattern, text []byte) error {
	want, err := parseJSON(pattern)
	if err != nil {
		return fmt.Errorf("pattern: %w", err)
	}
	got, err := parseJSON(text)
	if err != nil {
		return err
	}
	learnt := maps.Clone(n)
	if learnt == nil {
		learnt = names{}
	}
	if err := learnt.matchValue("", want, got); err != nil {
		return err
	}
	maps.Copy(n, learnt)
	return nil
}

func (n names) matchValue(at string, want, got any) error {
	switch want := want.(type) {
	case string:
		return n.matchString(at, want, got)
	case []any:
		list, ok := got.([]any)
		if !ok || len(list) != len(want) {
			return mismatch(at, want, got)
		}
		for i := range want {
			if err := n.matchValue(fmt.Sprintf("%s[%d]", at, i), want[i], list[i]); err != nil {
				return err
			}
		}
		return nil
	case map[string]any:
		return n.matchObject(at, want, got)
	default:
		if want != got {
			return mismatch(at, want, got)
		}
		return nil
	}
}

func (n names) matchString(at, want string, got any) error {
	if want == anything {
		return nil
	}
	s, ok := got.(string)
	if !ok {
		return mismatch(at, want, got)
	}
	if p := placeholder.FindString(want); p == want && want != "" {
		if _, known := n[p[1:len(p)-1]]; !known {
			n[p[1:len(p)-1]] = s
			return nil
		}
	}
	filled, err := n.fillString(want)
	if err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	if filled != s {
		return mismatch(at, want, got)
	}
	return nil
}

func (n names) matchObject(at string, want map[string]any, got any) error {
	object, ok := got.(map[string]any)
	if !ok {
		return mismatch(at, want, got)
	}
	// In order, as the first of two equal placeholders is the one that learns.
	named := make(map[string]bool, len(want))
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if k == anything {
			continue
		}
		name, err := n.fillString(k)
		if err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
		named[name] = true
		value, ok := object[name]
		if !ok {
			return fmt.Errorf("%s.%s: missing", at, k)
		}
		if err := n.matchValue(at+"."+k, want[k], value); err != nil {
			return err
		}
	}
	if _, open := want[anything]; open {
		return nil
	}
	for k := range object {
		if !named[k] {
			return fmt.Errorf("%s.%s: not expected", at, k)
		}
	}
	return nil
}

func mismatch(at string, want, got any) error {
	return fmt.Errorf("%s: want %v, got %v", at, want, got)
}

// hide puts placeholders for known values into a JSON text. Short values are
// left, as they stand for themselves elsewhere.
func (n names) hide(text []byte) []byte {
	const short = 8
	s := string(text)
	// Longer values first, so that none is broken by one that is part of it.
	byLength := slices.SortedFunc(maps.Keys(n), func(a, b string) int {
		if d := len(n[b]) - len(n[a]); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	for _, name := range byLength {
		if len(n[name]) >= short {
			s = strings.ReplaceAll(s, `"`+n[name]+`"`, `"<`+name+`>"`)
		}
	}
	return []byte(s)
}

// parseJSON keeps numbers as they are written.
func parseJSON(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if d.More() {
		return nil, fmt.Errorf("more than one value")
	}
	return v, nil
}
