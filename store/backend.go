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
	MaxBackendSecret = 512
)

// Backend is a Nextcloud that the cluster serves since an operator has said so.
// Those of the configuration files are beside it.
type Backend struct {
	URL    string `json:"url"` // the same text for the same Nextcloud, by whoever adds it
	Secret string `json:"secret"`
	// Limits of its people; 0: none of its own. Bitrates are in bits per second.
	MaxSessions      int       `json:"max_sessions,omitempty"`
	MaxVideoBitrate  int       `json:"max_video_bitrate,omitempty"`
	MaxScreenBitrate int       `json:"max_screen_bitrate,omitempty"`
	Added            time.Time `json:"added"` // set by the command
}

// Validate checks a backend that comes from outside.
func (b Backend) Validate() error {
	if err := checkText("backend URL", b.URL, 1, MaxBackendURL); err != nil {
		return err
	}
	if err := checkText("backend secret", b.Secret, 1, MaxBackendSecret); err != nil {
		return err
	}
	if b.MaxSessions < 0 || b.MaxVideoBitrate < 0 || b.MaxScreenBitrate < 0 {
		return fmt.Errorf("%w: a limit of a backend below nothing", ErrInvalid)
	}
	return nil
}

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

// NewPutBackend serves a Nextcloud, or changes what is known of it.
func NewPutBackend(at time.Time, b Backend) Command {
	b.Added = storedTime(at)
	return newCommand(OpPutBackend, at, &putBackend{Backend: b})
}

func (o *putBackend) validate() error { return o.Backend.Validate() }

func (o *putBackend) applyMemory(m *memory, at time.Time) (Result, []Event, error) {
	old, known := m.backends[o.Backend.URL]
	if !known && len(m.backends) >= MaxBackends {
		return Result{}, nil, fmt.Errorf("%w: backends", ErrLimit)
	}
	o.Backend.Added = at
	if known {
		o.Backend.Added = old.Added
	}
	m.backends[o.Backend.URL] = o.Backend
	return Result{}, []Event{{Kind: EventBackendsChanged}}, nil
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
