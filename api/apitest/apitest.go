// Package apitest asks the APIs of a node over HTTP, for tests that run a whole one.
package apitest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// patience is how long an answer may take.
const patience = 10 * time.Second

// Refusal is an answer that tells of no success.
type Refusal struct {
	Status int
	Text   string
}

func (r *Refusal) Error() string { return fmt.Sprintf("%d: %s", r.Status, r.Text) }

// Fetch asks for whatever is at a URL. The token may be empty, and the body nil.
func Fetch(ctx context.Context, method, url, token string, body any) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	payload, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	q, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(payload))
	if err != nil {
		return nil, err
	}
	q.Header.Set("Content-Type", "application/json")
	q.Header.Set("Accept", "application/json")
	q.Header.Set("OCS-APIRequest", "true")
	if token != "" {
		q.Header.Set("Authorization", "Bearer "+token)
	}
	a, err := http.DefaultClient.Do(q)
	if err != nil {
		return nil, err
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err == nil && a.StatusCode >= http.StatusMultipleChoices {
		err = &Refusal{a.StatusCode, string(text)}
	}
	return text, err
}

// Ask is Fetch of JSON, which is read into what may be nil.
func Ask(ctx context.Context, method, url, token string, body, into any) error {
	text, err := Fetch(ctx, method, url, token, body)
	if err != nil || into == nil {
		return err
	}
	return json.Unmarshal(text, into)
}

// Talk asks the Talk API of a node, whose answers have an envelope.
func Talk(ctx context.Context, method, node, path, token string, body, into any) error {
	var envelope struct {
		OCS struct{ Data json.RawMessage }
	}
	err := Ask(ctx, method, node+"/ocs/v2.php/apps"+path, token, body, &envelope)
	if err != nil || into == nil {
		return err
	}
	return json.Unmarshal(envelope.OCS.Data, into)
}

// withToken is a part of what the API answers.
type withToken struct{ Token string }

// LogIn gets a token of the API.
func LogIn(ctx context.Context, node, user, password string) (token string, err error) {
	var session withToken
	err = Talk(ctx, http.MethodPost, node, "/talkd/api/v1/session", "", map[string]string{"user": user, "password": password}, &session)
	return session.Token, err
}

// Create makes a public conversation.
func Create(ctx context.Context, node, token, name string) (conversation string, err error) {
	var room withToken
	err = Talk(ctx, http.MethodPost, node, "/spreed/api/v4/room", token, map[string]any{"roomType": 3, "roomName": name}, &room)
	return room.Token, err
}
