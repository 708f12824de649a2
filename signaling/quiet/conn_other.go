//go:build !linux

package quiet

import (
	"errors"
	"net"
)

// Conn gives the connection as it is.
func Conn(c net.Conn) net.Conn { return c }

// Listener gives the listener as it is.
func Listener(l net.Listener) net.Listener { return l }

// Send is not there.
func Send(int, []byte) (int, error) { return 0, errors.ErrUnsupported }

// Receive is not there.
func Receive(int, []byte) (n int, done bool, err error) { return 0, true, errors.ErrUnsupported }

// Heard is false: it does not know.
func Heard(net.Conn) bool { return false }
