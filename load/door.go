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

	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/wire"
)

// Door is the slice of the Talk API that a guest of a public conversation
// needs, at any node.
type Door struct {
	client *http.Client
	token  string // of the conversation
	name   string
	bearer string // the guest's, once there is one
}

// doorTimeout is how long a node may take to answer.
const doorTimeout = 3 * time.Second

func newDoor(conversation, name string) *Door {
	// No connection is kept: one to a node that is gone would only hang.
	return &Door{client: &http.Client{Timeout: doorTimeout, Transport: &http.Transport{DisableKeepAlives: true}}, token: conversation, name: name}
}

// ErrDoor is a refusal of the API.
var ErrDoor = errors.New("load: refused by the API")

// seat joins the conversation at a node: credentials for a hello, and under
// which id the backend knows the seat.
func (d *Door) seat(ctx context.Context, node string) (Credentials, wire.RoomSessionID, error) {
	var joined struct {
		SessionID  wire.RoomSessionID `json:"sessionId"`
		GuestToken string             `json:"guestToken"`
	}
	room := "/apps/spreed/api/v4/room/" + url.PathEscape(d.token)
	if err := d.call(ctx, http.MethodPost, node, room+"/participants/active", map[string]any{"displayName": d.name}, &joined); err != nil {
		return Credentials{}, "", err
	}
	if joined.GuestToken != "" {
		d.bearer = joined.GuestToken
	}
	var settings struct {
		HelloAuthParams map[string]json.RawMessage `json:"helloAuthParams"`
	}
	if err := d.call(ctx, http.MethodGet, node, "/apps/spreed/api/v3/signaling/settings?redirect=0&token="+url.QueryEscape(d.token), nil, &settings); err != nil {
		return Credentials{}, "", err
	}
	return Credentials{
		URL:    node + "/ocs/v2.php/apps/spreed/api/v3/signaling/backend",
		Params: settings.HelloAuthParams[wire.Version],
	}, joined.SessionID, nil
}

// inCall says that the seat sends audio and video.
func (d *Door) inCall(ctx context.Context, node string, seat wire.RoomSessionID) error {
	const flags = backend.FlagInCall | backend.FlagAudio | backend.FlagVideo
	return d.call(ctx, http.MethodPost, node, "/apps/spreed/api/v4/call/"+url.PathEscape(d.token), map[string]any{"flags": flags, "sessionId": seat}, nil)
}

func (d *Door) call(ctx context.Context, method, node, path string, body, into any) error {
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
	if d.bearer != "" {
		req.Header.Set("Authorization", "Bearer "+d.bearer)
	}
	resp, err := d.client.Do(req)
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
