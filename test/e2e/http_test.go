package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"
)

// ask asks a node over HTTP, and reads the answer into what may be nil.
func ask(ctx context.Context, method, url, token string, body, into any) error {
	b, err := fetch(ctx, method, url, token, body)
	if err != nil || into == nil {
		return err
	}
	return json.Unmarshal(b, into)
}

// fetch is ask for an answer of any form.
func fetch(ctx context.Context, method, url, token string, body any) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	payload, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(payload))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("OCS-APIRequest", "true")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		return nil, fmt.Errorf("%s: %s", resp.Status, b)
	}
	return b, nil
}

// post says something to the Talk API and unpacks the envelope of the answer.
func post(ctx context.Context, base, path, token string, body, into any) error {
	var envelope struct {
		OCS struct {
			Data json.RawMessage `json:"data"`
		} `json:"ocs"`
	}
	if err := ask(ctx, http.MethodPost, base+"/ocs/v2.php/apps"+path, token, body, &envelope); err != nil {
		return err
	}
	return json.Unmarshal(envelope.OCS.Data, into)
}

// withToken is a part of what the API answers.
type withToken struct{ Token string }

// logIn gets a token of the API.
func logIn(ctx context.Context, base, user, password string) (string, error) {
	var session withToken
	err := post(ctx, base, "/talkd/api/v1/session", "", map[string]string{"user": user, "password": password}, &session)
	return session.Token, err
}

// create makes a public conversation.
func create(ctx context.Context, base, token, name string) (string, error) {
	var room withToken
	err := post(ctx, base, "/spreed/api/v4/room", token, map[string]any{"roomType": 3, "roomName": name}, &room)
	return room.Token, err
}

// conversation logs in at a node and makes a public conversation there.
func conversation(t *testing.T, base, user, password, name string) string {
	t.Helper()
	token, err := logIn(t.Context(), base, user, password)
	if err != nil {
		t.Fatal(err)
	}
	room, err := create(t.Context(), base, token, name)
	if err != nil {
		t.Fatal(err)
	}
	if room == "" {
		t.Fatal("no token of the new conversation")
	}
	return room
}
