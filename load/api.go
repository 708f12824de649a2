package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// api asks the Talk API of any node.
type api struct {
	client *http.Client
	bearer string // who asks; "" for anybody
}

// apiTimeout is how long a node may take to answer.
const apiTimeout = 3 * time.Second

func newAPI() api {
	// No connection is kept: one to a node that is gone would only hang.
	return api{client: &http.Client{Timeout: apiTimeout, Transport: &http.Transport{DisableKeepAlives: true}}}
}

// ErrDoor is a refusal of the API.
var ErrDoor = errors.New("load: refused by the API")

func (a *api) call(ctx context.Context, method, node, path string, body, into any) error {
	payload, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, node+"/ocs/v2.php"+path, bytes.NewReader(payload))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("OCS-APIRequest", "true")
	if a.bearer != "" {
		req.Header.Set("Authorization", "Bearer "+a.bearer)
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxServerFrame))
	if err != nil {
		return err
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("%w: %s %s: %s", ErrDoor, method, path, resp.Status)
	}
	if into == nil {
		return nil
	}
	var envelope struct {
		OCS struct {
			Data json.RawMessage `json:"data"`
		} `json:"ocs"`
	}
	if err := json.Unmarshal(b, &envelope); err != nil {
		return err
	}
	return json.Unmarshal(envelope.OCS.Data, into)
}

// Host is somebody with an account, who makes conversations.
type Host struct {
	api  api
	node string // base URL
}

const (
	sessionPath = "/apps/talkd/api/v1/session"
	roomPath    = "/apps/spreed/api/v4/room"
)

// LogIn makes a host of an account.
func LogIn(ctx context.Context, node, user, password string) (*Host, error) {
	h := &Host{api: newAPI(), node: node}
	var session struct {
		Token string `json:"token"`
	}
	err := h.api.call(ctx, http.MethodPost, node, sessionPath, map[string]string{"user": user, "password": password}, &session)
	if err != nil {
		return nil, fmt.Errorf("log in as %s: %w", user, err)
	}
	h.api.bearer = session.Token
	return h, nil
}

// LogOut makes the login worthless.
func (h *Host) LogOut(ctx context.Context) error {
	return h.api.call(ctx, http.MethodDelete, h.node, sessionPath, nil, nil)
}

// Open makes a public conversation, and returns its token.
func (h *Host) Open(ctx context.Context, name string) (string, error) {
	const public = 3
	var room struct {
		Token string `json:"token"`
	}
	err := h.api.call(ctx, http.MethodPost, h.node, roomPath, map[string]any{"roomType": public, "roomName": name}, &room)
	return room.Token, err
}

// Shut deletes a conversation.
func (h *Host) Shut(ctx context.Context, conversation string) error {
	return h.api.call(ctx, http.MethodDelete, h.node, roomPath+"/"+url.PathEscape(conversation), nil, nil)
}
