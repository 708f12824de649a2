//go:build !linux

package signaling

import (
	"errors"
	"net"
	"syscall"
)

// rawOf is nil: nothing is kept, and the rest is not called.
func rawOf(net.Conn) (syscall.RawConn, int) { return nil, 0 }

func unacknowledged(int) (uint32, error) { return 0, errors.ErrUnsupported }

func established(int) bool { return false }
