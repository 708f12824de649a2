// Package imports makes a configuration of talkd from those of the servers that it replaces.
//
//	server.conf, proxy.conf  ini.go   -.
//	janus.jcfg               jcfg.go   +-> settings -> rules -> draft -> config.Config
//	turnserver.conf          coturn.go-'                         \----> notes
//
// It knows the names of settings and what they mean, and nothing of how those servers work. What a setting holds may
// be a secret: neither notes nor errors tell it.
package imports

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/talkd/talkd/node/config"
)

// MaxFile bounds a file that is read.
const MaxFile = 1 << 20

// File is what somebody wishes to take over.
type File struct {
	Name string // for messages
	Text []byte
}

// setting is one of a file.
type setting struct {
	file         string
	line         int
	section, key string // lower case; a file of coturn has no sections
	value        string
}

func (s setting) String() string {
	if s.section == "" {
		return fmt.Sprintf("%s:%d: %s", s.file, s.line, s.key)
	}
	return fmt.Sprintf("%s:%d: [%s] %s", s.file, s.line, s.section, s.key)
}

// Result is a configuration, and what its reader should know.
type Result struct {
	Config    config.Config // with the secrets
	ToDo      []string      // what the operator has to do
	NotTaken  []string      // what there is no counterpart for, and why
	NotNeeded []string      // what has no purpose any more, and why
}

// wanted is said of a file that is none of those.
const wanted = "give the configuration of the signaling server (server.conf), of its proxy, of Janus (janus.jcfg) or of coturn (turnserver.conf), as UTF-8"

// Read makes one configuration from all files. Values of the form $(NAME), as containers have them,
// are asked from env. The URL of the node is in none of the files.
func Read(files []File, publicURL string, env func(string) (string, bool)) (Result, error) {
	d := newDraft()
	for _, f := range files {
		kind, settings, err := parse(f)
		if err == nil && len(settings) == 0 {
			err = fmt.Errorf("%s: nothing is set in it; %s", f.Name, wanted)
		}
		if err != nil {
			return Result{}, err
		}
		for i := range settings {
			if err := substitute(&settings[i], env); err != nil {
				return Result{}, err
			}
		}
		if err := d.take(kind, settings); err != nil {
			return Result{}, err
		}
	}
	return d.finish(publicURL), nil
}

// kind is whose settings a file has.
type kind int

const (
	signalingServer kind = iota
	mediaProxy
	janus
	coturn
)

// parse tells by what is in a file whose it is: names of files are up to the operator.
func parse(f File) (kind, []setting, error) {
	if err := checkText(f); err != nil {
		return 0, nil, err
	}
	f.Text = bytes.TrimPrefix(f.Text, []byte("\ufeff")) // as some editors begin
	switch first := firstLine(f.Text); {
	case strings.HasPrefix(first, "["):
		settings, err := readINI(f)
		proxy := slices.ContainsFunc(settings, func(s setting) bool {
			return s.section == "tokens" || s.section == "bandwidth" || s.section == "app" && (s.key == "tokentype" || s.key == "country")
		})
		if proxy {
			return mediaProxy, settings, err
		}
		return signalingServer, settings, err
	case strings.Contains(first, "{"), strings.HasSuffix(first, ":"):
		settings, err := readJCFG(f)
		return janus, settings, err
	default:
		settings, err := readCoturn(f)
		return coturn, settings, err
	}
}

// checkText: what is printed must not control the terminal, and YAML is UTF-8.
func checkText(f File) error {
	if len(f.Text) > MaxFile {
		return fmt.Errorf("%s: larger than %d bytes; %s", f.Name, MaxFile, wanted)
	}
	for i, line := range bytes.Split(f.Text, []byte("\n")) {
		line = bytes.TrimSuffix(line, []byte("\r"))
		if !utf8.Valid(line) {
			return fmt.Errorf("%s:%d: not UTF-8; %s", f.Name, i+1, wanted)
		}
		if bytes.ContainsFunc(line, func(r rune) bool { return unicode.IsControl(r) && r != '\t' }) {
			return fmt.Errorf("%s:%d: control characters; %s", f.Name, i+1, wanted)
		}
	}
	return nil
}

// firstLine is the first one that is no comment.
func firstLine(text []byte) string {
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, ";") && !strings.HasPrefix(line, "//") && !strings.HasPrefix(line, "/*") {
			return line
		}
	}
	return ""
}

func substitute(s *setting, env func(string) (string, bool)) error {
	name, ok := strings.CutPrefix(s.value, "$(")
	if !ok || !strings.HasSuffix(name, ")") {
		return nil
	}
	name = strings.TrimSuffix(name, ")")
	value, ok := env(name)
	if !ok {
		return fmt.Errorf("%v: is taken from the environment, where %s is not set", *s, name)
	}
	s.value = value
	return nil
}
