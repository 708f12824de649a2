package udp

import (
	"bytes"
	"errors"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func openFor(t testing.TB, address string) *Sockets {
	t.Helper()
	s, err := Open(t.Context(), "test", Config{Address: address, Sockets: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// readNumbers reads datagrams of number, and returns how many there were in each
// Read.
func readNumbers(t *testing.T, r *Reader, sizes []int) (batches []int) {
	t.Helper()
	for i := 0; i < len(sizes); {
		if err := r.Read(); err != nil {
			t.Fatal(err)
		}
		first := i
		for d := r.Next(); d != nil; d = r.Next() {
			want := make([]byte, sizes[i])
			number(want, i)
			if !bytes.Equal(d, want) {
				t.Fatalf("datagram %d: %d bytes, want %d", i, len(d), len(want))
			}
			i++
		}
		batches = append(batches, i-first)
	}
	return batches
}

// What was sent as a few messages comes out as the datagrams that it was made
// of, whatever their sizes.
func TestReaderTakesMessagesApart(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		from, to := openFor(t, address), openFor(t, address)
		r := to.Readers()[0]
		var sizes []int
		for range 40 { // more messages than are read at once
			sizes = append(sizes, 1200, 1200, 1200, 700, 5, 1400, 100, 100, 1500, 1500, 4)
		}
		b := from.Burst()
		for i, size := range sizes {
			b.addNumber(to.Addr(), i, size)
		}
		if lost := b.Flush(); lost != 0 {
			t.Fatalf("lost %d", lost)
		}
		b.Release()
		batches := readNumbers(t, r, sizes)
		if from.joining.off.Load() {
			t.Skip("this kernel does not know UDP_SEGMENT")
		}
		if len(batches) >= len(sizes)/readMessages {
			t.Errorf("%d datagrams by %d reads", len(sizes), len(batches))
		}
		if datagrams, size := from.Sent(); datagrams != uint64(len(sizes)) || size != 40*8909 {
			t.Errorf("counted %d datagrams of %d bytes", datagrams, size)
		}
	}
}

// Plain datagrams of others are read as well; empty ones are none.
func TestReaderOfPlainDatagrams(t *testing.T) {
	to := openFor(t, "127.0.0.1:0")
	r := to.Readers()[0]
	sender := newReceiver(t, "127.0.0.1:0")
	for i, size := range []int{10, 0, 60_000} {
		b := make([]byte, size)
		if size > 0 {
			number(b, i-i/2)
		}
		if _, err := sender.WriteToUDPAddrPort(b, to.Addr()); err != nil {
			t.Fatal(err)
		}
	}
	readNumbers(t, r, []int{10, 60_000})
	if r.Next() != nil {
		t.Error("a datagram that nobody sent")
	}
}

func TestReaderEndsWithTheSockets(t *testing.T) {
	s := openFor(t, "127.0.0.1:0")
	r := s.Readers()[0]
	read := make(chan error, 1)
	go func() { read <- r.Read() }()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-read; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read: %v", err)
	}
	if r.Next() != nil {
		t.Error("a datagram")
	}
	if err := r.Read(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read again: %v", err)
	}
	if n := s.overflows(); n != 0 {
		t.Errorf("%d overflows", n)
	}
}

// What comes in just when the reader has found nothing, and is about to wait, wakes
// it like anything else.
func TestNoArrivalIsMissed(t *testing.T) {
	from, to := openFor(t, "127.0.0.1:0"), openFor(t, "127.0.0.1:0")
	r := to.Readers()[0]
	counts := make(chan int)
	go func() {
		defer close(counts)
		for r.Read() == nil {
			n := 0
			for r.Next() != nil {
				n++
			}
			counts <- n
		}
	}()
	b := from.Burst()
	defer b.Release()
	late := time.After(30 * time.Second)
	for round := range 3000 {
		wait := 1 + round%3
		for i := range wait {
			b.addNumber(to.Addr(), i, 100+i) // a message each
		}
		b.Flush()
		for wait > 0 {
			select {
			case n := <-counts:
				wait -= n
			case <-late:
				t.Fatalf("round %d: %d are missing", round, wait)
			}
		}
	}
	if err := to.Close(); err != nil {
		t.Error(err)
	}
	for range counts { // until the reader has ended
	}
}

func TestReadingAllocatesNothing(t *testing.T) {
	from, to := openFor(t, "127.0.0.1:0"), openFor(t, "127.0.0.1:0")
	r := to.Readers()[0]
	b := from.Burst()
	defer b.Release()
	if n := testing.AllocsPerRun(100, func() {
		for i := range 8 {
			b.addNumber(to.Addr(), i, 1200)
		}
		b.Flush()
		for got := 0; got < 8; {
			if err := r.Read(); err != nil {
				t.Fatal(err)
			}
			for r.Next() != nil {
				got++
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// What the kernel drops because nobody reads is known.
func TestOverflowsAreCounted(t *testing.T) {
	from, to := openFor(t, "127.0.0.1:0"), openFor(t, "127.0.0.1:0")
	if err := control(to.sockets[0].raw, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1)
	}); err != nil {
		t.Fatal(err)
	}
	b := from.Burst()
	defer b.Release()
	for i := range 100 {
		b.addNumber(to.Addr(), i, 1200)
	}
	b.Flush()
	for deadline := time.Now().Add(10 * time.Second); to.overflows() == 0; {
		if time.Now().After(deadline) {
			t.Fatal("no overflow is counted")
		}
	}
}
