package node

import (
	"os"
	"strconv"
	"strings"
	"syscall"
)

// disk is the room on the disk that a directory is on, in bytes; zeros when it
// cannot be told.
func disk(dir string) (free, size uint64) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, 0
	}
	block := uint64(s.Bsize)
	return s.Bavail * block, s.Blocks * block
}

// written is how many bytes this process has had the kernel bring to disks, 0
// where the kernel does not count.
func written() uint64 {
	b, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "write_bytes:"); ok {
			n, _ := strconv.ParseUint(strings.TrimSpace(v), 10, 64) // what is no number counts as none
			return n
		}
	}
	return 0
}
