package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// cgroups is where the system has its control groups.
const cgroups = "/sys/fs/cgroup"

// within makes a control group that may use a share of a processor, until the test
// ends, and returns what to begin a command with that is to run in it.
func within(t *testing.T, share float64) []string {
	t.Helper()
	const period = 20_000 // µs
	name, quota := fmt.Sprintf("talkd-e2e-%d", os.Getpid()), strconv.Itoa(int(share*period))
	dir, settings := filepath.Join(cgroups, "cpu", name), [][2]string{
		{"cpu.cfs_period_us", strconv.Itoa(period)}, {"cpu.cfs_quota_us", quota},
	}
	if _, err := os.Stat(filepath.Join(cgroups, "cgroup.controllers")); err == nil { // version 2
		dir, settings = filepath.Join(cgroups, name), [][2]string{{"cpu.max", quota + " " + strconv.Itoa(period)}}
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skipf("no control groups here: %v", err)
	}
	t.Cleanup(func() {
		err := os.Remove(dir)
		for range 100 { // to its group a process is there for a moment after its end
			if err == nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
			err = os.Remove(dir)
		}
		t.Errorf("a control group is left: %v", err)
	})
	for _, s := range settings {
		if err := os.WriteFile(filepath.Join(dir, s[0]), []byte(s[1]), 0o644); err != nil {
			t.Skipf("no control groups here: %v", err)
		}
	}
	return []string{"sh", "-c", `echo $$ > "$0" && exec "$@"`, filepath.Join(dir, "cgroup.procs")}
}
