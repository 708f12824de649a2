package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "write the golden files")

func TestMain(m *testing.M) {
	time.Local = time.UTC // the tables show local time
	goleak.VerifyTestMain(m)
}

// golden compares with a file that -update writes.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
	}
}

// talkd runs a command line.
func talkd(t *testing.T, args ...string) (code int, out, log string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var o, l bytes.Buffer
	code = run(ctx, args, &o, &l)
	return code, o.String(), l.String()
}

// The exit codes that scripts rely on, and what is said on which stream.
func TestExitCodes(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir) // no admin token of a real node
	t.Setenv("TALKD_BENCH_USER", "")
	bad := filepath.Join(dir, "bad.yaml")
	if err := os.WriteFile(bad, []byte("htpp: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := filepath.Join(dir, "good.yaml")
	if err := os.WriteFile(good, []byte("node: {id: n1}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		args string // separated by blanks
		code int
		out  string // part of the standard output
		log  string // part of the standard error
	}{
		{"", exitDone, "Exit codes", ""},
		{"help", exitDone, "Exit codes", ""},
		{"--help", exitDone, "Exit codes", ""},
		{"-h", exitDone, "Exit codes", ""},
		{"version", exitDone, "talkd ", ""},
		{"cluster --help", exitDone, "room ROOM", ""},
		{"user help", exitDone, "add NAME", ""},
		{"join-token -h", exitDone, "create", ""},
		{"config --help", exitDone, "check FILE", ""},
		{"cluster status --help", exitDone, "", "-admin URL"},
		{"serve --help", exitDone, "", "-join-token TOKEN"},
		{"dev -h", exitDone, "", "-base-port PORT"},

		{"start", exitUsage, "", `no command "start"`},
		{"Serve", exitUsage, "", "no command"},
		{"version now", exitUsage, "", "no arguments"},
		{"serve --no-such-flag", exitUsage, "", "no-such-flag"},
		{"serve n1", exitUsage, "", `"n1" is too much: talkd serve`},
		{"serve --expect three", exitUsage, "", "expect"},
		{"serve --advertise everywhere", exitUsage, "", "an IP address of this machine wanted"},
		{"serve --advertise IP --http IP:8080 --join 192.0.2.1:8082 --join-token T", exitUsage, "", "an IP address of this machine wanted"},
		{"serve --http 0.0.0.0:8080", exitFailed, "", "say --public-url URL"},
		{"serve --advertise 0.0.0.0", exitUsage, "", "an IP address of this machine wanted"},
		{"serve --config missing.yaml", exitFailed, "", "missing.yaml"},
		{"serve --config " + bad, exitFailed, "", "htpp"},
		{"serve --http nowhere", exitFailed, "", "nowhere"},
		{"bench", exitUsage, "", "webinar | meetings | team"},
		{"bench help", exitDone, "webinar", ""},
		{"bench party", exitUsage, "", "webinar | meetings | team"},
		{"bench team --user admin", exitUsage, "", "--user NAME:PASSWORD"},
		{"bench team --participants 0", exitUsage, "", "at least one"},
		{"bench webinar --node n2", exitUsage, "", "URL=TOKEN wanted"},
		{"bench webinar --help", exitDone, "", "-max-loss"},
		{"bench team --user admin:x --admin http://127.0.0.1:1 --token T", exitFailed, "", "no node answers"},
		{"dev --nodes many", exitUsage, "", "many"},
		{"dev --nodes 0", exitFailed, "", "between 1 and"},
		{"dev --nodes 17", exitFailed, "", "between 1 and"},
		{"dev --base-port 65530", exitFailed, "", "do not exist"},
		{"dev --init-user admin", exitUsage, "", "NAME:PASSWORD"},
		{"dev --init-user :x", exitUsage, "", "NAME:PASSWORD"},
		{"dev --backend https://cloud.example", exitUsage, "", "URL=SECRET"},
		{"cluster", exitUsage, "", "status | rooms"},
		{"cluster rome", exitUsage, "", `"rome"`},
		{"cluster room", exitUsage, "", "ROOM is missing"},
		{"cluster room a b", exitUsage, "", `"b" is too much`},
		{"cluster status now", exitUsage, "", `"now" is too much`},
		{"cluster status", exitFailed, "", "no admin token"},
		{"cluster status --token x --admin ::", exitUsage, "", "--admin"},
		{"cluster status --token x --admin http://127.0.0.1:1", exitFailed, "", "no node answers"},
		{"user", exitUsage, "", "add NAME"},
		{"user delete x", exitUsage, "", "delete"},
		{"user add", exitUsage, "", "NAME is missing"},
		{"user list everybody", exitUsage, "", `"everybody" is too much`},
		{"join-token", exitUsage, "", "create"},
		{"join-token revoke", exitUsage, "", "create"},
		{"join-token create --ttl soon", exitUsage, "", "soon"},
		{"config", exitUsage, "", "check FILE"},
		{"config check", exitUsage, "", "FILE is missing"},
		{"config import", exitUsage, "", "FILE... is missing"},
		{"config import missing.conf", exitFailed, "", "missing.conf"},
		{"config import --help", exitDone, "", "-out FILE"},
		{"config check missing.yaml", exitFailed, "", "missing.yaml"},
		{"config check " + bad, exitFailed, "", "htpp"},
		{"config check " + good, exitDone, "good.yaml: good", ""},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			code, out, log := talkd(t, strings.Fields(tt.args)...)
			if code != tt.code || !strings.Contains(out, tt.out) || !strings.Contains(log, tt.log) {
				t.Errorf("exit %d, want %d\nout: %s\nlog: %s", code, tt.code, out, log)
			}
			if code != exitDone && out != "" {
				t.Errorf("a failure speaks on the standard output: %s", out)
			}
			if code != exitDone && strings.Count(log, "\n") != 1 {
				t.Errorf("an error of more than one line: %s", log)
			}
			if (code == exitUsage) != strings.Contains(log, "usage: ") && !strings.Contains(log, "no command") {
				t.Errorf("exit %d with %s", code, log)
			}
		})
	}
}

func TestUsageText(t *testing.T) {
	_, out, _ := talkd(t, "help")
	golden(t, "help", out)
}

// Flags may stand before and behind the operands.
func TestParse(t *testing.T) {
	tests := []struct {
		args  string
		names []string
		want  []string
		flag  string
		err   error
	}{
		{"", nil, nil, "", nil},
		{"x", []string{"X"}, []string{"x"}, "", nil},
		{"--f v x", []string{"X"}, []string{"x"}, "v", nil},
		{"x --f v", []string{"X"}, []string{"x"}, "v", nil},
		{"x -f=v y", []string{"X", "Y"}, []string{"x", "y"}, "v", nil},
		{"-- --f", []string{"X"}, []string{"--f"}, "", nil},
		{"x y", []string{"X"}, nil, "", errUsage},
		{"x --f v y", []string{"X..."}, []string{"x", "y"}, "v", nil},
		{"--f v", []string{"X..."}, nil, "v", errUsage},
		{"--f v", []string{"X"}, nil, "v", errUsage},
		{"x --g", []string{"X"}, nil, "", errUsage},
		{"--f", nil, nil, "", errUsage},
		{"x --help", []string{"X"}, nil, "", flag.ErrHelp},
	}
	for _, tt := range tests {
		var log bytes.Buffer
		f := flags("test", &log)
		value := f.String("f", "", "")
		got, err := parse(f, strings.Fields(tt.args), tt.names...)
		if !slices.Equal(got, tt.want) || *value != tt.flag || !errors.Is(err, tt.err) {
			t.Errorf("%q: %v, -f %q, %v", tt.args, got, *value, err)
		}
	}
}

// TestHelpTellsNoSecrets: what the environment says is used, and not shown.
func TestHelpTellsNoSecrets(t *testing.T) {
	t.Setenv("TALKD_TOKEN", "sesame-token")
	t.Setenv("TALKD_BENCH_USER", "admin:sesame")
	for _, args := range []string{
		"backend add --help", "bench team --help", "cluster status --help", "doctor --help", "join-token create --help",
		"keys rotate gossip --help", "user add --help",
	} {
		_, out, log := talkd(t, strings.Fields(args)...)
		if !strings.Contains(out+log, "TALKD_TOKEN") || strings.Contains(out+log, "sesame") {
			t.Errorf("%s says: %s%s", args, out, log)
		}
	}
	// Both are there all the same: only the node is missing.
	if _, _, log := talkd(t, "bench", "team", "--admin", "http://127.0.0.1:1"); !strings.Contains(log, "no node answers") {
		t.Error(log)
	}
}
