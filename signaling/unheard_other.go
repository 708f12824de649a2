//go:build !linux

package signaling

import (
	"errors"
	"net"
)

// socketOf is none: nothing is kept, and the rest is not called.
func socketOf(net.Conn) int { return 0 }

func sendNow(int, []byte) (int, error) { return 0, errors.ErrUnsupported }

func unacknowledged(int) (uint32, error) { return 0, errors.ErrUnsupported }

func established(int) bool { return false }
