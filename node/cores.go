package node

import (
	"io/fs"
	"math"
	"os"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// cores is how many processors this process can use up, perhaps half a one. The
// runtime knows the machine and the process's affinity, but rounds what control
// groups allow up, and to two at least: by that a container with half a processor
// would never be busy.
func cores() float64 {
	return min(float64(runtime.GOMAXPROCS(0)), quota(os.DirFS("/")))
}

// quota is what the control groups of this process allow (cgroups(7)), those
// above them included; infinite if nothing is said.
func quota(root fs.FS) float64 {
	most := math.Inf(1)
	groups, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return most
	}
	for line := range strings.Lines(string(groups)) {
		_, line, _ = strings.Cut(strings.TrimSpace(line), ":")
		controllers, group, _ := strings.Cut(line, ":")
		base, read := "sys/fs/cgroup", quota2
		if controllers != "" {
			if !slices.Contains(strings.Split(controllers, ","), "cpu") {
				continue
			}
			base, read = "sys/fs/cgroup/cpu", quota1
		}
		for group = path.Clean("/" + group); ; group = path.Dir(group) {
			if q := read(root, path.Join(base, group)); q > 0 {
				most = min(most, q)
			}
			if group == "/" {
				break
			}
		}
	}
	return most
}

// quota2 reads a group of version 2; 0 if it says nothing.
func quota2(root fs.FS, dir string) float64 {
	b, _ := fs.ReadFile(root, path.Join(dir, "cpu.max"))
	most, period, _ := strings.Cut(strings.TrimSpace(string(b)), " ")
	return share(most, period)
}

// quota1 reads one of version 1.
func quota1(root fs.FS, dir string) float64 {
	most, _ := fs.ReadFile(root, path.Join(dir, "cpu.cfs_quota_us"))
	period, _ := fs.ReadFile(root, path.Join(dir, "cpu.cfs_period_us"))
	return share(strings.TrimSpace(string(most)), strings.TrimSpace(string(period)))
}

// share is one number by another, 0 where that is none: "max" and -1 stand for
// no bound.
func share(part, whole string) float64 {
	p, err := strconv.ParseFloat(part, 64)
	w, err2 := strconv.ParseFloat(whole, 64)
	if err != nil || err2 != nil || p <= 0 || w <= 0 {
		return 0
	}
	return p / w
}
