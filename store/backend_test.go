package store

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// Backends are replaced by their URL, bounded, and never shown with their secret.
func TestBackends(t *testing.T) {
	l := newLog(t)
	l.apply(NewPutBackend(t0, testBackend("https://b.example")))
	l.apply(NewPutBackend(t0, testBackend("https://a.example")))
	changed := testBackend("https://b.example")
	changed.Secret, changed.MaxSessions = "another secret of the test", 0
	l.apply(NewPutBackend(t0.Add(1e9), changed))
	got := l.Backends()
	if len(got) != 2 || got[0].URL != "https://a.example" || got[1].Secret != changed.Secret || got[1].MaxSessions != 0 || !got[1].Added.Equal(t0) {
		t.Errorf("backends %v", got)
	}
	if text := fmt.Sprintf("%v %+v %#v", got, got[0], got[0]); strings.Contains(text, "secret") {
		t.Errorf("shown: %s", text)
	}
	l.apply(NewRemoveBackend(t0, "https://b.example"))
	l.refused(ErrNotFound, NewRemoveBackend(t0, "https://b.example"))
	for i := range MaxBackends - 1 {
		l.apply(NewPutBackend(t0, testBackend(fmt.Sprintf("https://%d.example", i))))
	}
	l.refused(ErrLimit, NewPutBackend(t0, testBackend("https://more.example")))
	for _, b := range []Backend{{}, {URL: "https://x.example"}, {URL: "https://x.example", Secret: "s", MaxSessions: -1}, {URL: "a\nb", Secret: "s"}} {
		if NewPutBackend(t0, b).Err() == nil {
			t.Errorf("taken: %#v", b)
		}
	}
}

// A backend of several URLs needs nodes that know of such, one with one URL does not;
// no URL is of two.
func TestBackendURLs(t *testing.T) {
	l := newLog(t)
	several := testBackend("https://a.example")
	if v := NewPutBackend(t0, several).Version; v != 2 {
		t.Errorf("one URL is of version %d", v)
	}
	several.MoreURLs = []string{"https://b.example", "https://c.example"}
	if v := NewPutBackend(t0, several).Version; v != 3 {
		t.Errorf("several URLs are of version %d", v)
	}
	l.apply(NewPutBackend(t0, several))
	l.refused(ErrExists, NewPutBackend(t0, testBackend("https://c.example")))
	other := testBackend("https://d.example")
	other.MoreURLs = []string{"https://a.example"}
	l.refused(ErrExists, NewPutBackend(t0, other))
	restored := newImage(1, l.mem).memory(l.mem.homes)
	if got := restored.backends["https://a.example"]; !slices.Equal(got.MoreURLs, several.MoreURLs) {
		t.Errorf("of the snapshot: %v", got.MoreURLs)
	}
	several.MoreURLs = nil
	l.apply(NewPutBackend(t0, several))
	l.apply(NewPutBackend(t0, testBackend("https://c.example")))
	several.MoreURLs = make([]string, MaxMoreURLs+1)
	for i := range several.MoreURLs {
		several.MoreURLs[i] = fmt.Sprintf("https://%d.example", i)
	}
	if NewPutBackend(t0, several).Err() == nil {
		t.Error("too many URLs are taken")
	}
}
