package store

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"
)

// Limits of backends.
const (
	MaxBackends      = 256
	MaxBackendURL    = 2048
	MaxMoreURLs      = 15 // of a backend, besides the first
	MaxBackendSecret = 512
)

// Backend is a Nextcloud that the cluster serves since an operator has said so.
// Those of the configuration files are beside it.
type Backend struct {
	URL string `json:"url"` // the same text for the same Nextcloud, by whoever adds it
	// MoreURLs are those under which it is reached as well.
	MoreURLs []string `json:"more_urls,omitempty"`
	Secret   string   `json:"secret"`
	// Limits of its people; 0: none of its own. Bitrates are in bits per second.
	MaxSessions      int       `json:"max_sessions,omitempty"`
	MaxVideoBitrate  int       `json:"max_video_bitrate,omitempty"`
	MaxScreenBitrate int       `json:"max_screen_bitrate,omitempty"`
	Added            time.Time `json:"added"` // set by the command
}

// Validate checks a backend that comes from outside.
func (b Backend) Validate() error {
	if len(b.MoreURLs) > MaxMoreURLs {
		return fmt.Errorf("%w: more than %d URLs of a backend", ErrInvalid, MaxMoreURLs+1)
	}
	for _, url := range b.urls() {
		if err := checkText("backend URL", url, 1, MaxBackendURL); err != nil {
			return err
		}
	}
	if err := checkText("backend secret", b.Secret, 1, MaxBackendSecret); err != nil {
		return err
	}
	if b.MaxSessions < 0 || b.MaxVideoBitrate < 0 || b.MaxScreenBitrate < 0 {
		return fmt.Errorf("%w: a limit of a backend below nothing", ErrInvalid)
	}
	return nil
}

func (b Backend) urls() []string { return append([]string{b.URL}, b.MoreURLs...) }

// String leaves the secret out.
func (b Backend) String() string { return b.URL }

// GoString leaves the secret out.
func (b Backend) GoString() string { return b.URL }

// LogValue leaves the secret out.
func (b Backend) LogValue() slog.Value { return slog.StringValue(b.URL) }

// Backends are those that operators have added, ordered by URL.
func (v *View) Backends() []Backend {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return sortedBackends(v.mem.backends)
}

func sortedBackends(m map[string]Backend) []Backend {
	return slices.SortedFunc(maps.Values(m), func(a, b Backend) int { return cmp.Compare(a.URL, b.URL) })
}

type putBackend struct {
	Backend Backend `json:"backend"`
}

// moreURLsSince is the command version that brought backends of several URLs. With one
// URL nodes of the version before are told as well.
const moreURLsSince = 3

// NewPutBackend serves a Nextcloud, or changes what is known of it.
func NewPutBackend(at time.Time, b Backend) Command {
	b.Added = storedTime(at)
	c := newCommand(OpPutBackend, at, &putBackend{Backend: b})
	if len(b.MoreURLs) > 0 {
		c.Version = moreURLsSince
	}
	return c
}

func (o *putBackend) validate() error { return o.Backend.Validate() }

func (o *putBackend) applyMemory(m *memory, at time.Time) (Result, []Event, error) {
	old, known := m.backends[o.Backend.URL]
	if !known && len(m.backends) >= MaxBackends {
		return Result{}, nil, fmt.Errorf("%w: backends", ErrLimit)
	}
	if m.takenURL(o.Backend) {
		return Result{}, nil, fmt.Errorf("%w: a URL of another backend", ErrExists)
	}
	o.Backend.Added = at
	if known {
		o.Backend.Added = old.Added
	}
	m.backends[o.Backend.URL] = o.Backend
	return Result{}, []Event{{Kind: EventBackendsChanged}}, nil
}

// takenURL tells whether a URL of b is one of another backend.
func (m *memory) takenURL(b Backend) bool {
	for _, other := range m.backends {
		if other.URL != b.URL && slices.ContainsFunc(other.urls(), func(url string) bool { return slices.Contains(b.urls(), url) }) {
			return true
		}
	}
	return false
}

type removeBackend struct {
	URL string `json:"url"`
}

// NewRemoveBackend serves a Nextcloud no more.
func NewRemoveBackend(at time.Time, url string) Command {
	return newCommand(OpRemoveBackend, at, &removeBackend{URL: url})
}

func (o *removeBackend) validate() error { return checkText("backend URL", o.URL, 1, MaxBackendURL) }

func (o *removeBackend) applyMemory(m *memory, _ time.Time) (Result, []Event, error) {
	if _, ok := m.backends[o.URL]; !ok {
		return Result{}, nil, fmt.Errorf("%w: backend", ErrNotFound)
	}
	delete(m.backends, o.URL)
	return Result{}, []Event{{Kind: EventBackendsChanged}}, nil
}
