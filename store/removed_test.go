package store

import (
	"bytes"
	"fmt"
	"testing"
	"time"
)

func TestBanished(t *testing.T) {
	l := newLog(t)
	key := func(s string) string { return HashKey([]byte(s)) }
	put := func(at time.Time, id NodeID, k string) {
		t.Helper()
		n := testNode(id)
		n.Key = key(k)
		l.must(NewPutNode(at, n))
	}
	banished := func(id NodeID, k string, want bool) {
		t.Helper()
		if got := l.Banished(id, key(k)); got != want {
			t.Errorf("%s with key %s: banished %t", id, k, got)
		}
	}
	put(t0, "n1", "a")
	stranger := testNode("n1")
	stranger.Key = key("b")
	l.refused(ErrExists, NewPutNode(t0, stranger))
	banished("n1", "a", false)
	banished("n1", "b", true)  // another has the id
	banished("n2", "b", false) // nobody knows
	if l.WasRemoved("n1") {
		t.Error("n1 is there")
	}

	l.must(NewRemoveNode(t0, "n1"))
	banished("n1", "a", true)
	banished("n1", "b", false)
	banished("n2", "a", true) // a key is not good under another name either
	if !l.WasRemoved("n1") || l.WasRemoved("n2") {
		t.Error("n1 was removed, n2 was not")
	}

	put(t0, "n1", "b") // the id is used again
	banished("n1", "b", false)
	banished("n1", "a", true)
	l.must(NewRemoveNode(t0, "n1"))
	put(t0, "n3", "a") // a token lets the key in again
	banished("n3", "a", false)
	banished("n1", "b", true)

	var before, after bytes.Buffer
	if err := l.Snapshot(&before); err != nil {
		t.Fatal(err)
	}
	other := open(t, t.TempDir())
	if err := other.Restore(bytes.NewReader(before.Bytes())); err != nil {
		t.Fatal(err)
	}
	if err := other.Snapshot(&after); err != nil {
		t.Fatal(err)
	}
	if !other.Banished("n1", key("b")) || !bytes.Equal(before.Bytes(), after.Bytes()) {
		t.Error("a snapshot forgets who was removed")
	}

	// The next removal after the certificate's end sweeps up.
	l.must(NewRemoveNode(t0.Add(MaxCertificateLife), "n3"))
	banished("n1", "b", false)
	banished("n3", "a", true)
}

// Without a bound, whoever may remove nodes could fill the state.
func TestRemovedAreBounded(t *testing.T) {
	m := newMemory()
	for i := range MaxRemoved + 10 {
		m.remember(Node{ID: "n1", Key: fmt.Sprint(i)}, t0.Add(time.Duration(i)*time.Second))
	}
	if len(m.removed) != MaxRemoved {
		t.Errorf("%d are remembered", len(m.removed))
	}
	if _, oldest := m.removed["9"]; oldest {
		t.Error("the oldest was kept")
	}
	if _, newest := m.removed[fmt.Sprint(MaxRemoved+9)]; !newest {
		t.Error("the newest was not")
	}
}
