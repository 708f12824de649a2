package node

import (
	"math"
	"testing"
	"testing/fstest"
)

func TestQuota(t *testing.T) {
	inf := math.Inf(1)
	for name, tt := range map[string]struct {
		files map[string]string
		want  float64
	}{
		"nothing known": {nil, inf},
		"no bound":      {map[string]string{"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "max 100000\n"}, inf},
		"half a core":   {map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 0.5},
		"the group above": {map[string]string{
			"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "400000 100000\n", "sys/fs/cgroup/a/cpu.max": "150000 100000\n",
		}, 1.5},
		"the group below": {map[string]string{
			"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "20000 100000\n", "sys/fs/cgroup/a/cpu.max": "150000 100000\n",
		}, 0.2},
		"version 1": {map[string]string{
			"proc/self/cgroup":                      "3:cpuset:/\n2:cpu,cpuacct:/docker/x\n1:name=systemd:/\n0::/\n",
			"sys/fs/cgroup/cpu/cpu.cfs_quota_us":    "250000\n",
			"sys/fs/cgroup/cpu/cpu.cfs_period_us":   "100000\n",
			"sys/fs/cgroup/cpuset/cpu.cfs_quota_us": "1\n",
		}, 2.5},
		"version 1 without a bound": {map[string]string{
			"proc/self/cgroup": "1:cpu:/\n", "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
		}, inf},
		"not understood": {map[string]string{"proc/self/cgroup": "0\n::\n0::../..\n", "sys/fs/cgroup/cpu.max": "much\n"}, inf},
	} {
		root := fstest.MapFS{}
		for file, text := range tt.files {
			root[file] = &fstest.MapFile{Data: []byte(text)}
		}
		if got := quota(root); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
	if n := cores(); n <= 0 {
		t.Errorf("%v cores here", n)
	}
}
