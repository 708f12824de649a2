package backend

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// Config says how instances are asked. Zero values take the defaults.
type Config struct {
	// Timeout bounds one request with everything that belongs to it.
	Timeout time.Duration
	// MaxResponse bounds the body of an answer.
	MaxResponse int64
	// MaxConns bounds the connections to one instance. Requests beyond it wait
	// for a free one, no longer than Timeout.
	MaxConns int
	// Features are told to the instance with each request.
	Features []string
	// Logger tells when an instance is given up; nil: nobody.
	Logger *slog.Logger
	// UserAgent names the server.
	UserAgent string
	// RootCAs verify instances whose certificates no public authority signed;
	// nil takes those of the system.
	RootCAs *x509.CertPool
}

// Defaults of Config.
const (
	DefaultTimeout     = 10 * time.Second
	DefaultMaxResponse = 1 << 20
	DefaultMaxConns    = 32
	defaultUserAgent   = "talkd"
)

// Client asks instances. Its methods may be called at the same time.
type Client struct {
	registry *Registry
	cfg      Config
	lines    *lines
	metrics  *metrics
	log      *slog.Logger
	keys     *tokenKeys
}

// NewClient makes a client for the instances of the registry.
func NewClient(cfg Config, registry *Registry, reg prometheus.Registerer) (*Client, error) {
	if cfg.Timeout <= 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.MaxResponse <= 0 {
		cfg.MaxResponse = DefaultMaxResponse
	}
	if cfg.MaxConns <= 0 {
		cfg.MaxConns = DefaultMaxConns
	}
	if cfg.UserAgent == "" {
		cfg.UserAgent = defaultUserAgent
	}
	m, err := newMetrics(reg, registry)
	if err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Client{registry: registry, cfg: cfg, lines: newLines(cfg), metrics: m, log: cfg.Logger}
	c.keys = newTokenKeys(c.fetchTokenKey)
	return c, nil
}

// Close ends what is still being asked for nobody in particular, and gives the pooled
// connections up.
func (c *Client) Close() {
	c.keys.close()
	c.lines.close()
}

// Resolve finds the instance of the URL in a client's hello.
func (c *Client) Resolve(authURL string) (store.BackendID, error) {
	id, err := c.registry.Resolve(authURL)
	if err != nil {
		return "", fmt.Errorf("%w: %w", wire.ErrInvalidBackend, err)
	}
	return id, nil
}

// Authenticate asks who the client with these params is.
func (c *Client) Authenticate(ctx context.Context, id store.BackendID, via string, params json.RawMessage) (AuthResponse, error) {
	answer, err := c.ask(ctx, id, via, question{Type: kindAuth, Auth: &authQuestion{Version: wire.Version, Params: params}}, wire.ErrAuthFailed)
	if err != nil {
		return AuthResponse{}, err
	}
	if answer.Type != kindAuth || answer.Auth == nil {
		return AuthResponse{}, fmt.Errorf("%w: %w: no auth", wire.ErrAuthFailed, ErrBadResponse)
	}
	if len(answer.Auth.UserID) > maxName {
		return AuthResponse{}, fmt.Errorf("%w: %w: user id too long", wire.ErrAuthFailed, ErrBadResponse)
	}
	return AuthResponse{UserID: answer.Auth.UserID, User: objectOrNil(answer.Auth.User)}, nil
}

// JoinRoom asks whether the participant may enter the room.
func (c *Client) JoinRoom(ctx context.Context, r RoomRequest) (RoomResponse, error) {
	answer, err := c.room(ctx, r, actionJoin)
	if err != nil {
		return RoomResponse{}, err
	}
	if answer.Type != kindRoom || answer.Room == nil {
		return RoomResponse{}, fmt.Errorf("%w: %w: no room", wire.ErrRoomJoinFailed, ErrBadResponse)
	}
	room := answer.Room
	if room.RoomID != "" && room.RoomID != r.Room.Name {
		return RoomResponse{}, fmt.Errorf("%w: %w: another room", wire.ErrRoomJoinFailed, ErrBadResponse)
	}
	return RoomResponse{
		RoomID:      r.Room.Name,
		Properties:  room.Properties,
		Permissions: room.Permissions,
		Session:     objectOrNil(room.Session),
	}, nil
}

// LeaveRoom tells that the participant left the room.
func (c *Client) LeaveRoom(ctx context.Context, r RoomRequest) error {
	_, err := c.room(ctx, r, actionLeave)
	return err
}

func (c *Client) room(ctx context.Context, r RoomRequest, action string) (*answer, error) {
	return c.ask(ctx, r.Room.Backend, r.Via, question{Type: kindRoom, Room: &roomQuestion{
		Version:   wire.Version,
		RoomID:    r.Room.Name,
		UserID:    r.UserID,
		SessionID: r.SessionID,
		Action:    action,
		ActorID:   r.Actor.ID,
		ActorType: r.Actor.Type,
		InCall:    r.InCall,
	}}, wire.ErrRoomJoinFailed)
}

// maxPing is how many participants are named in one request.
const maxPing = 200

// Ping tells which participants are still in the room, of those who came by that URL.
// All are told even if a request in between fails.
func (c *Client) Ping(ctx context.Context, room store.RoomID, via string, entries []PingEntry) error {
	var errs []error
	for batch := range slices.Chunk(entries, maxPing) {
		_, err := c.ask(ctx, room.Backend, via, question{Type: kindPing, Ping: &pingQuestion{
			Version: wire.Version,
			RoomID:  room.Name,
			Entries: batch,
		}}, wire.ErrProcessingFailed)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// ask sends one question. An error has the code that the instance named, or
// that of fallback.
func (c *Client) ask(ctx context.Context, id store.BackendID, via string, q question, fallback error) (*answer, error) {
	at, err := c.registry.get(id, via)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", wire.ErrInvalidBackend, err)
	}
	try, err := at.breaker.enter()
	if err != nil {
		c.metrics.skipped.Inc()
		return nil, fmt.Errorf("%w: %w: %w", fallback, ErrUnreachable, err)
	}
	start := time.Now()
	a, err := c.try(ctx, at, q)
	c.judge(ctx, at, try, err)
	if err == nil && a.Type == kindError {
		err = a.refusal(fallback)
		c.metrics.observe(q.Type, resultRefused, time.Since(start))
		return nil, err
	}
	if err != nil {
		c.metrics.observe(q.Type, resultFailed, time.Since(start))
		return nil, fmt.Errorf("%w: %w", fallback, err)
	}
	c.metrics.observe(q.Type, resultDone, time.Since(start))
	return a, nil
}

// Between two attempts at a question; each attempt is signed anew.
const (
	retryFirst = 100 * time.Millisecond
	attempts   = 3
)

// try asks again when there was no answer, as long as there is time: each question
// may come twice.
func (c *Client) try(ctx context.Context, at *address, q question) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	for wait, n := retryFirst, 1; ; wait, n = 2*wait, n+1 {
		a, err := c.post(ctx, at, q)
		if err == nil || !errors.Is(err, ErrUnreachable) || ctx.Err() != nil || n == attempts {
			return a, err
		}
		c.metrics.retries.Inc()
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// judge tells the breaker of an instance what a question says of it.
func (c *Client) judge(ctx context.Context, at *address, try bool, err error) {
	v := answered
	switch {
	case errors.Is(err, ErrUnreachable) && ctx.Err() != nil:
		v = undecided
	case errors.Is(err, ErrUnreachable):
		v = silent
	}
	opened, closed := at.breaker.leave(try, v)
	switch {
	case opened:
		c.log.Warn("a Nextcloud does not answer; nobody gets in until it does", "url", at.base.String())
	case closed:
		c.log.Info("a Nextcloud answers again", "url", at.base.String())
	}
}

// Await waits until an instance that does not answer may be asked again. It is
// false if ctx ends before, or nobody knows the instance.
func (c *Client) Await(ctx context.Context, id store.BackendID, via string) bool {
	at, err := c.registry.get(id, via)
	return err == nil && at.breaker.await(ctx)
}

// Endpoint is where instances take questions, below their base URL.
const Endpoint = "/ocs/v2.php/apps/spreed/api/v3/signaling/backend"

func (c *Client) post(ctx context.Context, at *address, q question) (*answer, error) {
	body, err := json.Marshal(q)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at.base.String()+Endpoint, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	req.Header.Set("Content-Type", "application/json")
	if len(c.cfg.Features) > 0 {
		req.Header.Set(HeaderFeatures, strings.Join(c.cfg.Features, ", "))
	}
	Sign(req.Header, at.of.secret, at.base.String()+"/", body)
	r, err := c.exchange(req)
	if err != nil {
		return nil, err
	}
	return decodeAnswer(r.status, r.body, c.cfg.MaxResponse)
}

// exchange sends a request from which nothing becomes different when it comes twice.
func (c *Client) exchange(req *http.Request) (reply, error) {
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Accept-Encoding", "identity")
	req.Header.Set("User-Agent", c.cfg.UserAgent)
	req.Header.Set("OCS-APIRequest", "true")
	r, err := c.lines.ask(req, c.cfg.MaxResponse)
	if err != nil {
		return reply{}, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return r, nil
}
