package backend_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/signalingtest"
)

// capabilitiesOf answers as an instance with these capabilities does, at that time.
func capabilitiesOf(capabilities string, now time.Time) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", now.UTC().Format(http.TimeFormat))
		_, _ = w.Write([]byte(`{"ocs":{"data":{"version":{"string":"32.0.1"},"capabilities":` + capabilities + `}}}`))
	}
}

func TestExamine(t *testing.T) {
	nc := signalingtest.NewNextcloud(t, "secret")
	c, id := newClient(t, backend.Config{}, nc.Instance())
	e := c.Examine(t.Context(), id, "")
	if e.Err != nil || e.Key != nil || e.Secret != nil || e.Nextcloud != "32.0.0" || e.Talk == "" {
		t.Errorf("a good one: %+v", e)
	}
	if e.Ahead == nil || e.Ahead.Abs() > 2*time.Second {
		t.Errorf("clock: %v", e.Ahead)
	}
	asked := nc.Questions()
	if kind := asked[len(asked)-1].Kind; kind != "talkd-doctor" {
		t.Errorf("asked for %q, which may change something", kind)
	}

	nc.SetTokenKey(nil, nil, "")
	if e := c.Examine(t.Context(), id, ""); !errors.Is(e.Key, backend.ErrNoTokenKey) || e.Secret != nil {
		t.Errorf("without a key: %+v", e)
	}
	other := nc.Instance()
	other.Secret = "another"
	c, id = newClient(t, backend.Config{}, other)
	if e := c.Examine(t.Context(), id, ""); !errors.Is(e.Secret, backend.ErrChecksum) || e.Err != nil {
		t.Errorf("another secret: %+v", e)
	}
	if e := c.Examine(t.Context(), "nobody", ""); !errors.Is(e.Err, backend.ErrUnknownBackend) {
		t.Errorf("not served: %+v", e)
	}
}

// TestExamineOdd has what stands where a Nextcloud is wanted.
func TestExamineOdd(t *testing.T) {
	nc := signalingtest.NewNextcloud(t, "secret")
	c, id := newClient(t, backend.Config{}, nc.Instance())
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		is     func(backend.Examination) bool
	}{
		"no Talk": {capabilitiesOf(`{"core":{}}`, time.Now()), func(e backend.Examination) bool {
			return e.Err == nil && e.Talk == "" && e.Nextcloud == "32.0.1" && e.Secret == nil
		}},
		"no capabilities for guests": {capabilitiesOf(`[]`, time.Now()), func(e backend.Examination) bool { return e.Err == nil && e.Talk == "" }},
		"clock ahead": {capabilitiesOf(`{"spreed":{"version":"22"}}`, time.Now().Add(time.Minute)), func(e backend.Examination) bool {
			return e.Talk == "22" && *e.Ahead > 57*time.Second && *e.Ahead < 63*time.Second
		}},
		"maintenance": {status(503, "{}"), func(e backend.Examination) bool { return errors.Is(e.Err, backend.ErrBadResponse) && e.Status == 503 }},
		"a page":      {status(200, "<html>"), func(e backend.Examination) bool { return errors.Is(e.Err, backend.ErrBadResponse) && e.Status == 200 }},
		"a list":      {status(200, `{"ocs":{"data":[]}}`), func(e backend.Examination) bool { return errors.Is(e.Err, backend.ErrBadResponse) }},
		"elsewhere": {http.RedirectHandler("https://other.example/login", http.StatusFound).ServeHTTP, func(e backend.Examination) bool {
			return e.Status == 302 && e.Location == "https://other.example/login"
		}},
	} {
		nc.Break(tt.answer)
		if e := c.Examine(t.Context(), id, ""); !tt.is(e) {
			b, _ := json.Marshal(e)
			t.Errorf("%s: %s, %v", name, b, e.Err)
		}
	}
}
