//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/rpc"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// process is a forwarding process.
type process struct {
	*rpc.Client
	cmd *exec.Cmd
}

// start begins a forwarding process on one core, or on all when that is anyCore.
func start(ctx context.Context, s Setup, core int) (*process, error) {
	setup, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "forward", strconv.Itoa(core), string(setup))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &process{cmd: cmd, Client: rpc.NewClient(struct {
		io.Reader
		io.WriteCloser
	}{out, in})}, nil
}

// Close ends the process, whose stdin ends.
func (p *process) Close() error {
	err := p.Client.Close()
	return errors.Join(err, p.cmd.Wait())
}

const anyCore = -1

// pin keeps the process on one core. It replaces the process by itself, so that
// threads and the runtime's number of processors are right from the beginning.
func pin(core int) error {
	if core == anyCore {
		return nil
	}
	var has, want unix.CPUSet
	want.Set(core)
	if err := unix.SchedGetaffinity(0, &has); err != nil {
		return err
	}
	if has == want {
		return nil
	}
	runtime.LockOSThread()
	if err := unix.SchedSetaffinity(0, &want); err != nil {
		return fmt.Errorf("core %d: %w", core, err)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return syscall.Exec(self, os.Args, os.Environ())
}
