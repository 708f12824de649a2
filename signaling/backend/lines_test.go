package backend

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// far is where lines lead to in tests. What it answers to the nth question of a
// connection is up to answer; nothing hangs up.
type far struct {
	answer func(n int, r *http.Request) string

	opened, open, most atomic.Int32 // lines: ever, now, and at once
}

func (f *far) lines(most int) *lines {
	dial := func(context.Context, *url.URL) (net.Conn, error) {
		near, there := net.Pipe()
		f.opened.Add(1)
		f.most.Store(max(f.most.Load(), f.open.Add(1)))
		go f.serve(there)
		return near, nil
	}
	return &lines{dial: dial, most: most, hosts: make(map[string]*host)}
}

func (f *far) serve(c net.Conn) {
	defer f.open.Add(-1)
	defer func() { _ = c.Close() }()
	r := bufio.NewReader(c)
	for n := 0; ; n++ {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return
		}
		a := f.answer(n, req)
		if a == "" {
			return
		}
		if _, err := io.WriteString(c, a); err != nil {
			return
		}
	}
}

func ask(ctx context.Context, l *lines, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://far"+path, strings.NewReader("question"))
	if err != nil {
		return "", err
	}
	r, err := l.ask(req, 100)
	return string(r.body), err
}

func ok(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// TestLines: who asks one after the other needs one line, also when an answer is
// announced, or comes in pieces. One that is told to be the last is.
func TestLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &far{answer: func(_ int, r *http.Request) string {
			switch r.URL.Path {
			case "/announced":
				return "HTTP/1.1 103 Early Hints\r\n\r\n" + ok("announced")
			case "/pieces":
				return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\npie\r\n3\r\nces\r\n0\r\n\r\n"
			case "/last":
				return strings.Replace(ok("last"), "\r\n", "\r\nConnection: close\r\n", 1)
			}
			return ok(r.URL.Path[1:])
		}}
		l := f.lines(8)
		defer l.close()
		for _, path := range []string{"one", "announced", "pieces", "last"} {
			if got, err := ask(t.Context(), l, "/"+path); got != path || err != nil || f.opened.Load() != 1 {
				t.Errorf("%s: %q, %v, by %d lines", path, got, err, f.opened.Load())
			}
		}
		synctest.Wait()
		if f.open.Load() != 0 {
			t.Error("the line is kept after its last answer")
		}
		if got, err := ask(t.Context(), l, "/two"); got != "two" || err != nil || f.opened.Load() != 2 {
			t.Errorf("after the last: %q, %v, by %d lines", got, err, f.opened.Load())
		}
	})
}

// TestLinesHungUp: lines that the other end has closed while they were idle cost the
// one who asks next nothing but a new one. A new one without an answer is not tried
// again, nor is one that has begun to answer.
func TestLinesHungUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var silent atomic.Bool
		f := &far{answer: func(n int, r *http.Request) string {
			switch {
			case n > 0 || silent.Load():
				return ""
			case r.URL.Path == "/half":
				return ok("half")[:30]
			}
			time.Sleep(time.Second)
			return ok("hello")
		}}
		l := f.lines(8)
		defer l.close()
		for range 3 {
			go func() { _, _ = ask(t.Context(), l, "/") }()
		}
		time.Sleep(2 * time.Second)
		if got, err := ask(t.Context(), l, "/"); got != "hello" || err != nil || f.opened.Load() != 4 {
			t.Errorf("%q, %v, by %d lines", got, err, f.opened.Load())
		}
		silent.Store(true)
		if _, err := ask(t.Context(), l, "/"); !errors.Is(err, errHungUp) || f.opened.Load() != 5 {
			t.Errorf("never an answer: %v, by %d lines", err, f.opened.Load())
		}
		silent.Store(false)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := ask(ctx, l, "/half"); !errors.Is(err, context.DeadlineExceeded) || f.opened.Load() != 6 {
			t.Errorf("half an answer: %v, by %d lines", err, f.opened.Load())
		}
	})
}

// TestLinesBounds: no more lines than may be, no longer than somebody needs them, and
// no more of a header or a body than is wanted.
func TestLinesBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &far{answer: func(_ int, r *http.Request) string {
			switch r.URL.Path {
			case "/header":
				return "HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", maxHeader)
			case "/body":
				return ok(strings.Repeat("b", 1<<20))
			case "/announced":
				return strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 100)
			}
			time.Sleep(time.Second)
			return ok("hello")
		}}
		l := f.lines(2)
		defer l.close()
		began := time.Now()
		done := make(chan error, 6)
		for range cap(done) {
			go func() { _, err := ask(t.Context(), l, "/"); done <- err }()
		}
		for range cap(done) {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if took := time.Since(began); f.most.Load() != 2 || f.opened.Load() != 2 || took != 3*time.Second {
			t.Errorf("%d lines, %d at once, %v", f.opened.Load(), f.most.Load(), took)
		}
		time.Sleep(2 * idleTimeout)
		if synctest.Wait(); f.open.Load() != 0 {
			t.Errorf("%d lines are kept that nobody needs", f.open.Load())
		}
		if _, err := ask(t.Context(), l, "/header"); err == nil {
			t.Error("a header of any length was taken")
		}
		if got, err := ask(t.Context(), l, "/body"); len(got) != 101 || err != nil {
			t.Errorf("of a long body %d bytes, %v", len(got), err)
		}
		if _, err := ask(t.Context(), l, "/announced"); err != nil {
			t.Errorf("announced for ever: %v", err) // its status says that there is no answer
		}
		if synctest.Wait(); f.open.Load() != 0 {
			t.Errorf("%d lines are kept of which nobody knows where an answer begins", f.open.Load())
		}
	})
}

// TestLinesGivenUp: who does not want an answer any more gets none, and nobody else
// gets it.
func TestLinesGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &far{answer: func(_ int, r *http.Request) string {
			if r.URL.Path == "/late" {
				time.Sleep(time.Minute)
			}
			return ok(r.URL.Path[1:])
		}}
		l := f.lines(1)
		defer l.close()
		if _, err := ask(t.Context(), l, "/first"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := ask(ctx, l, "/late"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("late: %v", err)
		}
		if got, err := ask(t.Context(), l, "/next"); got != "next" || err != nil {
			t.Errorf("next: %q, %v", got, err)
		}
		time.Sleep(time.Minute) // until the late answer finds nobody
	})
}
