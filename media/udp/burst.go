package udp

import (
	"errors"
	"math/bits"
	"net"
	"net/netip"
	"syscall"
)

const (
	// arenaSize is the memory of a Burst. It is to stay in the cache of a core,
	// and holds 400 packets of video.
	arenaSize = 512 << 10
	// maxMessages go to the kernel by one system call, and fewer if they have
	// enough bytes: whoever is first does not wait until all others are sealed, and
	// what was written is still near the core when the kernel copies it.
	maxMessages = 64
	enough      = 64 << 10
	// maxGathered are in a Burst at most: after Spill it takes as many datagrams as a
	// system call has messages, however unlike they are, before it has to send.
	maxGathered = 2 * maxMessages
	// maxSegments is how many datagrams every kernel that joins any takes as one
	// message (UDP_SEGMENT), and maxJoined their bytes: with its headers a message
	// is at most an IP packet.
	maxSegments = 64
	maxJoined   = 65000
	// anyRoute is the size of datagrams that every route takes: the smallest MTU
	// of IPv6 (RFC 8200 5) without its headers.
	anyRoute = 1280 - 40 - 8
)

// message is what the kernel is given at once: datagrams of one size, of which
// the last may be shorter, to one address. They lie behind each other in the
// arena.
type message struct {
	to       netip.AddrPort
	start    int // in the arena
	bytes    int
	size     int // of each datagram but the last
	count    int
	complete bool // takes no more datagrams
}

// refusal is an address to which the kernel takes no datagrams from a size on.
type refusal struct {
	to   netip.AddrPort
	size int
}

// outlet gives messages to the kernel without waiting. It returns how many it
// took; the error is about the first one that it did not take. wait waits for
// room, but not longer than patience, and tells whether there is some.
type outlet interface {
	send(arena []byte, messages []message) (int, error)
	wait() bool
}

// Burst gathers datagrams and gives them to the kernel together. Those to one
// address should follow each other: the ones of equal size become one message,
// which costs little more than a single datagram. It is for one goroutine:
//
//	b := sockets.Burst()
//	for … {
//		room := b.Room(max)
//		n := seal(room)
//		b.Add(to, n)
//		b.Spill() // where waiting is all right
//	}
//	lost := b.Flush()
//	b.Release()
type Burst struct {
	sockets  *Sockets
	out      outlet
	messages [maxGathered]message
	count    int     // of messages
	end      int     // of what is in the arena
	lost     int     // since the last Flush
	refusing refusal // the last one since the last Flush
	tally    tally
	arena    [arenaSize]byte
}

// Burst returns an empty one. There are as many as are in use at once.
func (s *Sockets) Burst() *Burst { return s.bursts.Get().(*Burst) }

// Release gives the Burst back; what was added since the last Flush is not sent.
func (b *Burst) Release() {
	b.count, b.end, b.lost, b.refusing = 0, 0, 0, refusal{}
	b.sockets.bursts.Put(b)
}

// Room is where the next datagram is written, of at most size bytes. It is valid
// until the next call, and may be left unused. Size must not exceed 64 KiB.
func (b *Burst) Room(size int) []byte {
	if b.end+size > arenaSize {
		b.send()
	}
	return b.arena[b.end : b.end+size : b.end+size]
}

// Add takes the first n bytes of the last Room as a datagram, if there are any.
func (b *Burst) Add(to netip.AddrPort, n int) {
	if n == 0 {
		return
	}
	if b.count > 0 && b.messages[b.count-1].take(to, n, &b.sockets.joining) {
		b.end += n
		return
	}
	if b.count == maxGathered {
		from := b.end
		b.send()
		copy(b.arena[:n], b.arena[from:from+n])
	}
	b.messages[b.count] = message{to: to, start: b.end, bytes: n, size: n, count: 1}
	b.count++
	b.end += n
}

// Spill sends what was added if it is enough for a system call. It may wait for
// room as Flush does; Add does only when nothing more fits, so that who adds may
// hold a lock.
func (b *Burst) Spill() {
	if b.count >= maxMessages || b.end >= enough {
		b.send()
	}
}

// take joins a datagram to those of the message, if it fits.
func (m *message) take(to netip.AddrPort, n int, j *joining) bool {
	if m.complete || n > m.size || m.to != to || m.bytes+n > maxJoined {
		return false
	}
	if m.count == 1 && !j.allowed(to) {
		m.complete = true
		return false
	}
	m.bytes += n
	m.count++
	m.complete = n < m.size || m.count == maxSegments
	return true
}

// Flush sends what was added, and returns how many datagrams were lost since the
// last one: those that the kernel refused or had no room for. It waits for room,
// but not for long (see patience).
func (b *Burst) Flush() (lost int) {
	b.send()
	return b.settle()
}

// TryFlush is Flush that does not wait. It is false when that could not be: the
// kernel has no room, or refuses a message of several datagrams. The rest is still
// there then, for Flush.
func (b *Burst) TryFlush() bool {
	if rest := b.give(b.messages[:b.count], false); len(rest) > 0 {
		b.count = copy(b.messages[:], rest)
		return false
	}
	b.count, b.end = 0, 0
	b.settle()
	return true
}

// settle adds to the figures of all, and returns what was lost.
func (b *Burst) settle() (lost int) {
	lost, b.lost, b.refusing = b.lost, 0, refusal{}
	b.sockets.stats.add(&b.tally)
	b.tally = tally{}
	return lost
}

// send empties the arena.
func (b *Burst) send() {
	b.give(b.messages[:b.count], true)
	b.count, b.end = 0, 0
}

// give returns what is left: if it may wait, nothing.
func (b *Burst) give(rest []message, wait bool) []message {
	for len(rest) > 0 {
		if b.refusing.holds(&rest[0]) {
			b.lose(rest[:1], &b.tally.refused)
			rest = rest[1:]
			continue
		}
		n, err := b.out.send(b.arena[:], rest[:min(len(rest), maxMessages)])
		for i := range rest[:n] {
			b.sent(&rest[i])
		}
		if rest = rest[n:]; err == nil || len(rest) == 0 {
			continue
		}
		switch {
		case errors.Is(err, syscall.EAGAIN):
			if !wait {
				return rest
			}
			if b.sockets.patient(b.out) {
				continue
			}
			b.lose(rest, &b.tally.full)
			return nil
		case errors.Is(err, net.ErrClosed):
			b.lose(rest, &b.tally.refused)
			return nil
		case rest[0].count > 1:
			if !wait {
				return rest // one by one they may have to wait for room
			}
			b.apart(rest[0], err)
		default:
			b.refusing = refusalOf(&rest[0], err)
			b.lose(rest[:1], &b.tally.refused)
		}
		rest = rest[1:]
	}
	return nil
}

// refusalOf is what a datagram that was refused says of those that follow it to
// the same address. Trying each of them would cost a call of the kernel, up to 64
// for a message, and those of everybody else wait meanwhile.
func refusalOf(m *message, err error) refusal {
	switch {
	case errors.Is(err, syscall.ENOBUFS), errors.Is(err, syscall.ENOMEM):
		return refusal{} // it passes
	case errors.Is(err, syscall.EMSGSIZE):
		return refusal{m.to, m.size}
	}
	return refusal{m.to, 0}
}

// holds tells whether all datagrams of the message would be refused.
func (r *refusal) holds(m *message) bool {
	return m.to == r.to && m.bytes-(m.count-1)*m.size >= r.size
}

// apart sends the datagrams of a message that was refused for why, one by one.
func (b *Burst) apart(m message, why error) {
	var single [maxSegments]message
	for i := range m.count {
		at := i * m.size
		n := min(m.size, m.bytes-at)
		single[i] = message{to: m.to, start: m.start + at, bytes: n, size: n, count: 1}
	}
	before := b.tally.messages()
	b.give(single[:m.count], true)
	if b.tally.messages() > before {
		b.sockets.refused(m.to, refusesAll(why, m.size))
	}
}

// refusesAll tells whether a route takes no joined datagrams at all, as those
// whose interface computes no checksums, when it takes single ones of that size.
// Others were refused because they are too large for the route: the kernel takes
// apart only what goes alone. That says nothing of smaller ones, and who sends to
// many could make each of them large. Nor does it when the kernel had no memory.
func refusesAll(why error, size int) bool {
	// Before Linux 6.14 EINVAL is also for what is too large.
	return errors.Is(why, syscall.EIO) || errors.Is(why, syscall.EINVAL) && size <= anyRoute
}

func (b *Burst) sent(m *message) {
	b.tally.segments[bits.Len(uint(m.count-1))]++
	b.tally.datagrams += uint64(m.count)
	b.tally.bytes += uint64(m.bytes)
}

func (b *Burst) lose(messages []message, reason *uint64) {
	for i := range messages {
		b.lost += messages[i].count
		*reason += uint64(messages[i].count)
	}
}
