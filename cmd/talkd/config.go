package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"

	"github.com/talkd/talkd/node/config"
	"github.com/talkd/talkd/node/config/imports"
)

const configWords = "check FILE | import FILE..."

// secretDir is where a configuration that is printed looks for its secrets.
const secretDir = "/etc/talkd"

func configCommand(_ context.Context, args []string, out, log io.Writer) error {
	if len(args) == 0 {
		return usage("config %s", configWords)
	}
	f := flags("config "+args[0], log)
	switch args[0] {
	case "check":
		operands, err := parse(f, args[1:], "FILE")
		if err != nil {
			return err
		}
		return checkConfig(operands[0], out)
	case "import":
		to := f.String("out", "", "write to this new `FILE`, which has the secrets; without it the configuration is printed without them")
		publicURL := f.String("public-url", "", "`URL` under which browsers reach this node")
		operands, err := parse(f, args[1:], "FILE...")
		if err != nil {
			return err
		}
		return importConfig(operands, *to, *publicURL, out, log)
	default:
		return usage("config %q: %s", args[0], configWords)
	}
}

func checkConfig(file string, out io.Writer) error {
	c, err := config.Load(file, nil)
	if err != nil {
		return err
	}
	verdict := "good"
	if reflect.DeepEqual(c, config.Default()) {
		verdict = "good, but nothing is in it: all is as by default"
	}
	if err := c.Complete(); err != nil {
		return err
	}
	if err := c.Validate(); err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, file+": "+verdict)
	return err
}

// importConfig makes a configuration from those of other servers. Notes go to log, so that the
// output can be a file.
func importConfig(names []string, to, publicURL string, out, log io.Writer) error {
	if publicURL != "" {
		if err := config.CheckPublicURL(publicURL); err != nil {
			return usage("--public-url: %v", err)
		}
	}
	var files []imports.File
	for _, name := range names {
		text, err := readBounded(name)
		if err != nil {
			return err
		}
		files = append(files, imports.File{Name: filepath.Base(name), Text: text})
	}
	r, err := imports.Read(files, publicURL, os.LookupEnv)
	if err != nil {
		return err
	}
	if to == "" {
		r = r.SecretsApart(secretDir)
		err = r.Config.Write(out)
	} else {
		err = writeNew(to, r.Config)
	}
	if err != nil {
		return err
	}
	for _, part := range []struct {
		title string
		notes []string
	}{{"No longer needed", r.NotNeeded}, {"Not taken over", r.NotTaken}, {"To be done", r.ToDo}} {
		if len(part.notes) == 0 {
			continue
		}
		fmt.Fprintln(log, part.title+":")
		for _, note := range part.notes {
			fmt.Fprintln(log, "  "+note)
		}
	}
	if to != "" {
		fmt.Fprintf(out, "%s is written, with the secrets, for its owner to read: chown it to whom talkd runs as; talkd config check %s\n", to, to)
	}
	return nil
}

func readBounded(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, imports.MaxFile+1))
}

// writeNew writes a file that was not there, so that nobody could read it before it was his own.
func writeNew(name string, c config.Config) error {
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return fmt.Errorf("%s is a directory; name a new file in it: --out %s", name, filepath.Join(name, "talkd.yaml"))
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s is there already; remove it, or name another by --out", name)
	}
	if err != nil {
		return err
	}
	return errors.Join(c.Write(f), f.Close())
}
