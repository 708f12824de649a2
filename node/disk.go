package node

import "syscall"

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
