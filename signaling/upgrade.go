package signaling

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
)

// Buffers of the library, of each connection: messages that are longer are read past
// it, and all that it writes itself fits.
const (
	readBuffer  = 512
	writeBuffer = 256
)

// upgrade gives the library the outlet for the connection, and small buffers in place
// of those of the server, which are made for requests. The answer of the handshake goes
// out with the greeting, which follows at once.
type upgrade struct {
	http.ResponseWriter
	outlet *outlet
	answer bytes.Buffer
}

// WriteHeader writes the answer as RFC 9112 section 4 has it.
func (u *upgrade) WriteHeader(status int) {
	if status != http.StatusSwitchingProtocols {
		u.ResponseWriter.WriteHeader(status)
		return
	}
	u.answer.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	_ = u.Header().Write(&u.answer) // a buffer takes all
	u.answer.WriteString("\r\n")
}

func (u *upgrade) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, was, err := http.NewResponseController(u.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	if err := u.outlet.over(conn, u.answer.Bytes()); err != nil {
		return nil, nil, err
	}
	early, err := was.Peek(was.Reader.Buffered())
	if err != nil {
		return nil, nil, err
	}
	r := bufio.NewReaderSize(io.MultiReader(bytes.NewReader(bytes.Clone(early)), u.outlet), max(readBuffer, len(early)))
	if _, err := r.Peek(len(early)); err != nil { // it is looked for in the buffer
		return nil, nil, err
	}
	return u.outlet, bufio.NewReadWriter(r, bufio.NewWriterSize(u.outlet, writeBuffer)), nil
}
