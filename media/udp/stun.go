package udp

import (
	"bytes"
	"encoding/binary"
)

// What the mux needs of STUN (RFC 8489 5 and 14). It reads the bytes as they
// are, and allocates nothing.
const (
	stunHeader     = 20
	stunCookie     = 0x2112A442
	bindingRequest = 0x0001
	bindingSuccess = 0x0101
	stunUserName   = 0x0006
	maxUserName    = 513
)

func isMessage(b []byte, kind uint16) bool {
	return len(b) >= stunHeader && binary.BigEndian.Uint16(b) == kind && binary.BigEndian.Uint32(b[4:]) == stunCookie
}

func isRequest(b []byte) bool { return isMessage(b, bindingRequest) }
func isSuccess(b []byte) bool { return isMessage(b, bindingSuccess) }

// requestFor is the part of the user name that this node chose: what is before
// the colon.
func requestFor(b []byte) (ufrag []byte, ok bool) {
	length := int(binary.BigEndian.Uint16(b[2:]))
	if stunHeader+length > len(b) {
		return nil, false
	}
	b = b[stunHeader : stunHeader+length]
	for len(b) >= 4 {
		kind, n := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
		b = b[4:]
		if n > len(b) {
			return nil, false
		}
		if kind == stunUserName {
			ufrag, _, ok = bytes.Cut(b[:n], []byte(":"))
			return ufrag, ok && n <= maxUserName
		}
		b = b[min(len(b), (n+3)&^3):]
	}
	return nil, false
}
