// Package quiet has TCP connections for many short messages. Sockets of the Go
// runtime never wait in the kernel, but each read and write is announced to the
// runtime as if it could: whenever the process was idle before, that wakes the
// runtime's monitor, which then looks around every 20 µs until the process is idle
// again. For a server that gets a message now and then this costs more than the
// message. Here the runtime is not told: neither of what a connection of Conn does, nor
// of who comes to a Listener, nor of Send and Receive, which are for who has the socket and waits in another way.
//
// Elsewhere than on Linux connections are as they are.
package quiet
