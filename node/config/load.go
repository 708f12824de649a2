package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// maxFile bounds a configuration file.
const maxFile = 1 << 20

// Load reads the file over the defaults, then the environment. An empty path
// is no file.
func Load(path string, environ []string) (Config, error) {
	c := Default()
	if path != "" {
		f, err := os.Open(path)
		if err != nil {
			return c, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		defer f.Close()
		if err := Decode(f, &c); err != nil {
			return c, fmt.Errorf("%s: %w", path, err)
		}
	}
	return c, c.environment(environ)
}

// Decode reads strict YAML over what c holds already.
func Decode(r io.Reader, c *Config) error {
	b, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return err
	}
	if len(b) > maxFile {
		return invalid("the file is larger than %d bytes", maxFile)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(b, &doc); err != nil {
		return invalid("not YAML: %s", oneLine(err))
	}
	if len(doc.Content) == 0 {
		return nil
	}
	if doc.Content[0].Kind != yaml.MappingNode && doc.Content[0].Tag != "!!null" {
		return invalid("line %d: no key of talkd; the configuration of another server becomes one by talkd config import", doc.Content[0].Line)
	}
	if err := known(doc.Content[0], reflect.TypeOf(*c), ""); err != nil {
		return err
	}
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(c); err != nil {
		return invalid("%s", oneLine(err))
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return invalid("more than one document in the file")
	}
	return nil
}

// oneLine is an error of the library, which may be a list.
func oneLine(err error) string {
	return strings.TrimPrefix(strings.Join(strings.Fields(err.Error()), " "), "yaml: ")
}

// known walks the document beside the type, so that the error for an unknown
// key can say the line and the nearest key that exists.
func known(n *yaml.Node, t reflect.Type, path string) error {
	switch {
	case t.Kind() == reflect.Slice && n.Kind == yaml.SequenceNode:
		for _, item := range n.Content {
			if err := known(item, t.Elem(), path); err != nil {
				return err
			}
		}
	case t.Kind() == reflect.Struct && n.Kind == yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			field, ok := fieldOf(t, key.Value)
			if !ok {
				return invalid("line %d: unknown key %q, the nearest is %q", key.Line, join(path, key.Value), join(path, nearest(key.Value, t)))
			}
			if err := known(n.Content[i+1], field.Type, join(path, key.Value)); err != nil {
				return err
			}
		}
	}
	return nil
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func fieldOf(t reflect.Type, key string) (reflect.StructField, bool) {
	for f := range t.Fields() {
		if f.Tag.Get("yaml") == key {
			return f, true
		}
	}
	return reflect.StructField{}, false
}

func nearest(key string, t reflect.Type) string {
	best, distance := "", -1
	for f := range t.Fields() {
		name := f.Tag.Get("yaml")
		if d := levenshtein(key, name); distance < 0 || d < distance {
			best, distance = name, d
		}
	}
	return best
}

// levenshtein counts the edits from a to b (Levenshtein 1966).
func levenshtein(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

// environment applies TALKD_SECTION_KEY. Lists are separated by commas; lists
// of mappings (signaling.backends) are for the file only.
func (c *Config) environment(environ []string) error {
	env := map[string]string{}
	for _, kv := range environ {
		if k, v, ok := strings.Cut(kv, "="); ok && strings.HasPrefix(k, "TALKD_") {
			env[k] = v
		}
	}
	// Variables of the commands that talk to a node: no configuration of one.
	delete(env, "TALKD_ADMIN")
	delete(env, "TALKD_TOKEN")
	delete(env, "TALKD_BENCH_USER")
	for section, sv := range reflect.ValueOf(c).Elem().Fields() {
		for key, v := range sv.Fields() {
			name := strings.ToUpper("TALKD_" + section.Tag.Get("yaml") + "_" + key.Tag.Get("yaml"))
			text, ok := env[name]
			if !ok {
				continue
			}
			delete(env, name)
			if err := set(v, text); err != nil {
				return invalid("%s: %v", name, err)
			}
		}
	}
	for name := range env {
		return invalid("environment: %s overrides no key", name)
	}
	return nil
}

func set(v reflect.Value, text string) error {
	switch v.Interface().(type) {
	case string:
		v.SetString(text)
	case bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return errors.New("not true or false")
		}
		v.SetBool(b)
	case int:
		i, err := strconv.Atoi(text)
		if err != nil {
			return errors.New("not a number")
		}
		v.SetInt(int64(i))
	case time.Duration:
		d, err := time.ParseDuration(text)
		if err != nil {
			return errors.New("not a duration such as 30s")
		}
		v.SetInt(int64(d))
	case []string:
		v.Set(reflect.ValueOf(strings.Split(text, ",")))
	default:
		return errors.New("this key can be set in the file only")
	}
	return nil
}
