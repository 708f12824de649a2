package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// roleEnv makes this test's binary another process, for a test that needs one: a
// role of it. What it is told and tells is JSON on its standard input and output.
const roleEnv = "E2E_ROLE"

const (
	roleCrowd = "crowd"
	roleFloor = "floor"

	roleTalkFloor = "floor of talkers"
	roleJoinFloor = "floor of those who come"
)

// play is such a process.
func play(role string) error {
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	switch role {
	case roleCrowd:
		return beCrowd(in, out)
	case roleFloor:
		return beFloor(in, out)
	case roleTalkFloor:
		return beTalkFloor(in, out)
	case roleJoinFloor:
		return beJoinFloor(in, out)
	}
	return fmt.Errorf("no role %q", role)
}

// child is such a process as its test sees it.
type child struct {
	t    *testing.T
	role string
	pid  int
	in   *json.Encoder
	out  *json.Decoder
}

// startChild runs one until the test ends, by way of another command if there is
// any.
func startChild(t *testing.T, role string, by ...string) *child {
	t.Helper()
	args := append(by, os.Args[0])
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Env = append(os.Environ(), roleEnv+"="+role)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Wait() }) // it is killed then
	return &child{t: t, role: role, pid: cmd.Process.Pid, in: json.NewEncoder(in), out: json.NewDecoder(out)}
}

func (c *child) tell(what any) {
	c.t.Helper()
	if err := c.in.Encode(what); err != nil {
		c.t.Fatalf("telling the %s: %v", c.role, err)
	}
}

// hear waits for what it tells.
func (c *child) hear(into any) {
	c.t.Helper()
	if err := c.out.Decode(into); err != nil {
		c.t.Fatalf("the %s is gone: %v", c.role, err)
	}
}

// await waits for a word of it.
func (c *child) await(word string) {
	c.t.Helper()
	var got string
	if c.hear(&got); got != word {
		c.t.Fatalf("the %s says %q instead of %q", c.role, got, word)
	}
}
