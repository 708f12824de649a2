package api

import (
	"context"
	"net/http"
)

// Doctor lets all nodes look at the Nextclouds that they serve.
type Doctor interface {
	Examine(ctx context.Context) (Examination, error)
}

// Examination is what they found, and what whoever asks needs to look from outside:
// the ticket lets clients into the room for two minutes, at any node.
type Examination struct {
	Findings []Finding `json:"findings"`
	Room     string    `json:"room"`
	Ticket   string    `json:"ticket"`
}

// Finding is what a node has found about a Nextcloud, in the words of package doctor.
type Finding struct {
	Check  string `json:"check"`
	About  string `json:"about"`
	From   string `json:"from"`
	Result string `json:"result"`
	Text   string `json:"text"`
	Do     string `json:"do,omitempty"`
}

func (a *Admin) examine(r *http.Request) (any, error) {
	if err := readAdmin(r, &struct{}{}); err != nil {
		return nil, err
	}
	return a.deps.Doctor.Examine(r.Context())
}
