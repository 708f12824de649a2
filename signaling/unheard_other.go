//go:build !linux

package signaling

import (
	"errors"
	"net"
	"syscall"
)

// rawOf is nil: nothing is kept.
func rawOf(net.Conn) syscall.RawConn { return nil }

func unacknowledged(syscall.RawConn) (uint32, error) { return 0, errors.ErrUnsupported }

func established(syscall.RawConn) bool { return false }
