package backend

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/talkd/talkd/signaling/wire"
)

// How long a key is believed. Instances say max-age, within bounds; one that does
// not answer is believed for longer, as its clients come all the same.
const (
	keyFreshLeast = time.Minute
	keyFresh      = 10 * time.Minute
	keyFreshMost  = time.Hour
	keyKept       = 24 * time.Hour
	// keyPause is the time between two questions for capabilities: signatures that
	// are made up must not become requests.
	keyPause = 3 * time.Second
)

// tokenKeys are the keys of all instances, as they were fetched.
type tokenKeys struct {
	fetch func(ctx context.Context, at *address, etag string) (fetched, error)
	ctx   context.Context // of the questions; ends with close
	stop  context.CancelFunc
	tasks sync.WaitGroup // the questions that are under way

	mu    sync.Mutex
	byURL map[string]*cachedKey // guarded by mu, with all that is in it; an instance may be asked at each of its URLs
}

// fetched is what an instance answers. Without a key the one of before is still good.
type fetched struct {
	key   *tokenKey
	etag  string
	fresh time.Duration
}

// cachedKey is that of one instance.
type cachedKey struct {
	key      *tokenKey // nil: never fetched
	etag     string
	told     time.Time     // when the instance said so last
	stale    time.Time     // when to ask again
	asked    time.Time     // whatever was answered
	askedErr error         // why there was no answer
	answered chan struct{} // closed with the answer; nil: it is not being asked
}

func newTokenKeys(fetch func(context.Context, *address, string) (fetched, error)) *tokenKeys {
	t := &tokenKeys{fetch: fetch, byURL: make(map[string]*cachedKey)}
	t.ctx, t.stop = context.WithCancel(context.Background())
	return t
}

// close ends the questions.
func (t *tokenKeys) close() {
	t.mu.Lock()
	t.stop()
	t.mu.Unlock()
	t.tasks.Wait()
}

// of is the key of an instance, another one than not if there is one: that one did
// not fit a token. All who come while the instance is being asked wait for that
// answer, which comes whoever of them goes.
func (t *tokenKeys) of(ctx context.Context, at *address, not *tokenKey) (*tokenKey, error) {
	for {
		key, answered, err := t.find(at, not)
		if answered == nil {
			return key, err
		}
		select {
		case <-answered:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// find is the key if it is known; otherwise the instance is being asked.
func (t *tokenKeys) find(at *address, not *tokenKey) (key *tokenKey, answered <-chan struct{}, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	name := at.base.String()
	c := t.byURL[name]
	if c == nil {
		c = &cachedKey{}
		t.byURL[name] = c
	}
	if key, known, err := c.known(not); known {
		return key, nil, err
	}
	if err := t.ctx.Err(); err != nil {
		return nil, nil, err
	}
	if c.answered == nil {
		c.answered = make(chan struct{})
		etag := c.etag
		t.tasks.Go(func() { t.ask(at, c, etag) })
	}
	return nil, c.answered, nil
}

func (t *tokenKeys) ask(at *address, c *cachedKey, etag string) {
	got, err := t.fetch(t.ctx, at, etag)
	t.mu.Lock()
	defer t.mu.Unlock()
	c.take(got, err)
	close(c.answered)
	c.answered = nil
}

// known is the key if there is no need to ask, or no use in it so soon.
func (c *cachedKey) known(not *tokenKey) (key *tokenKey, known bool, err error) {
	now := time.Now()
	soon := now.Sub(c.asked) < keyPause
	switch {
	case c.key != nil && c.key != not && now.Before(c.stale):
		return c.key, true, nil
	case !soon:
		return nil, false, nil
	case c.key != nil && now.Sub(c.told) < keyKept:
		return c.key, true, nil
	}
	return nil, true, c.askedErr
}

func (c *cachedKey) take(got fetched, err error) {
	now := time.Now()
	c.asked, c.askedErr = now, err
	if err != nil {
		return
	}
	if got.key != nil && (c.key == nil || got.key.text != c.key.text) {
		c.key = got.key
	}
	c.etag, c.told, c.stale = got.etag, now, now.Add(got.fresh)
}

// capabilities is where instances say what they can, below their base URL.
const capabilities = "/ocs/v2.php/cloud/capabilities"

// fetchTokenKey asks an instance for its key; with the etag of the one that is
// known it may answer that nothing has changed.
func (c *Client) fetchTokenKey(ctx context.Context, at *address, etag string) (fetched, error) {
	start := time.Now()
	got, err := c.getTokenKey(ctx, at, etag)
	result := resultDone
	if err != nil {
		result = resultFailed
	}
	c.metrics.observe(kindCapabilities, result, time.Since(start))
	return got, err
}

func (c *Client) capabilitiesRequest(ctx context.Context, at *address) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.base.String()+capabilities, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	return req, nil
}

func (c *Client) getTokenKey(ctx context.Context, at *address, etag string) (fetched, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	req, err := c.capabilitiesRequest(ctx, at)
	if err != nil {
		return fetched{}, err
	}
	if etag != "" {
		req.Header.Set("If-None-Match", etag)
	}
	r, err := c.exchange(req)
	if err != nil {
		return fetched{}, err
	}
	fresh := freshness(r.header.Get("Cache-Control"))
	if r.status == http.StatusNotModified && etag != "" {
		return fetched{etag: etag, fresh: fresh}, nil
	}
	if r.status != http.StatusOK {
		return fetched{}, fmt.Errorf("%w: status %d", ErrBadResponse, r.status)
	}
	if err := wire.CheckJSON(r.body, int(c.cfg.MaxResponse)); err != nil {
		return fetched{}, fmt.Errorf("%w: %w", ErrBadResponse, err)
	}
	key, err := tokenKeyOf(r.body)
	if err != nil {
		return fetched{}, err
	}
	return fetched{key: key, etag: r.header.Get("ETag"), fresh: fresh}, nil
}

// freshness is how long an answer holds (RFC 9111, section 5.2.2).
func freshness(cacheControl string) time.Duration {
	for directive := range strings.SplitSeq(cacheControl, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		if !strings.EqualFold(name, "max-age") {
			continue
		}
		if seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31); err == nil {
			return min(max(time.Duration(seconds)*time.Second, keyFreshLeast), keyFreshMost)
		}
	}
	return keyFresh
}
