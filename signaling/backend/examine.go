package backend

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// Examination is what asking an instance shows to its operator.
type Examination struct {
	// Err says why there is nothing else: it was not reached, or what answered is no
	// Nextcloud. Status is that of the answer, 0 without one; Location is where a
	// redirect leads to, which is not followed.
	Err      error
	Status   int
	Location string
	// Nextcloud and Talk are its versions; Talk is empty if there is none.
	Nextcloud, Talk string
	// Ahead is by how much its clock is ahead of this node's, to about a second; nil:
	// it does not tell.
	Ahead *time.Duration
	// Key says why tokens of hello 2.0 cannot be read.
	Key error
	// Secret is nil if the instance has the same one: otherwise ErrChecksum, or why
	// that is not known.
	Secret error
}

// kindExamine is a question that no instance knows: it changes nothing, and is
// answered as such by who has found the checksum right.
const kindExamine = "talkd-doctor"

// Examine asks an instance what it is and whether it shares the secret. It does so
// anew each time, also if the instance is given up for now.
func (c *Client) Examine(ctx context.Context, id store.BackendID, via string) Examination {
	at, err := c.registry.get(id, via)
	if err != nil {
		return Examination{Err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	e := c.askCapabilities(ctx, at)
	if e.Err == nil && e.Talk != "" {
		e.Secret = c.askSecret(ctx, at)
	}
	return e
}

func (c *Client) askCapabilities(ctx context.Context, at *address) (e Examination) {
	req, err := c.capabilitiesRequest(ctx, at)
	if err != nil {
		return Examination{Err: err}
	}
	sent := time.Now()
	r, err := c.exchange(req)
	if err != nil {
		return Examination{Err: err}
	}
	e.Status, e.Location = r.status, r.header.Get("Location")
	e.Ahead = ahead(r.header.Get("Date"), sent, time.Now())
	if r.status != http.StatusOK {
		e.Err = fmt.Errorf("%w: status %d", ErrBadResponse, r.status)
		return e
	}
	if err := wire.CheckJSON(r.body, int(c.cfg.MaxResponse)); err != nil {
		e.Err = fmt.Errorf("%w: %w", ErrBadResponse, err)
		return e
	}
	if e.Nextcloud, e.Talk, err = versions(r.body); err != nil {
		e.Err = err
		return e
	}
	_, e.Key = tokenKeyOf(r.body)
	return e
}

// ahead compares the clock of who wrote the header with ours, half way between
// question and answer. The header has whole seconds, cut off.
func ahead(date string, sent, came time.Time) *time.Duration {
	told, err := http.ParseTime(date)
	if err != nil {
		return nil
	}
	d := told.Add(time.Second / 2).Sub(sent.Add(came.Sub(sent) / 2))
	return &d
}

// versions are those of the instance and of its Talk.
func versions(body []byte) (nextcloud, talk string, err error) {
	var said struct {
		OCS struct {
			Data struct {
				Version struct {
					String string `json:"string"`
				} `json:"version"`
				Capabilities json.RawMessage `json:"capabilities"`
			} `json:"data"`
		} `json:"ocs"`
	}
	if err := json.Unmarshal(body, &said); err != nil || said.OCS.Data.Capabilities == nil {
		return "", "", fmt.Errorf("%w: no capabilities", ErrBadResponse)
	}
	nextcloud = shown(said.OCS.Data.Version.String)
	// PHP writes an empty list for what has no members.
	var capabilities map[string]json.RawMessage
	if json.Unmarshal(said.OCS.Data.Capabilities, &capabilities) != nil || capabilities["spreed"] == nil {
		return nextcloud, "", nil
	}
	var spreed struct {
		Version string `json:"version"`
	}
	if json.Unmarshal(capabilities["spreed"], &spreed) != nil || spreed.Version == "" {
		spreed.Version = "of an unknown version"
	}
	return nextcloud, shown(spreed.Version), nil
}

// shown is a version as it may be shown.
func shown(version string) string { return fmt.Sprintf("%.40s", version) }

// askSecret signs a question. An instance that finds the checksum wrong says so
// before it looks at anything else.
func (c *Client) askSecret(ctx context.Context, at *address) error {
	a, err := c.post(ctx, at, question{Type: kindExamine})
	var said *wire.Error
	switch {
	case err != nil:
		return err
	case a.Type == kindError && errors.As(a.refusal(wire.ErrProcessingFailed), &said) && said.Code == wire.CodeInvalidRequest:
		return ErrChecksum
	}
	return nil
}
