package api

import (
	"context"
	"net/http"
)

// Doctor lets all nodes look at the Nextclouds that they serve. The answer, a
// doctor.Examination, is nothing but handed on: package doctor stands on the other side
// of the API as well.
type Doctor interface {
	Examine(ctx context.Context) (any, error)
}

func (a *Admin) examine(r *http.Request) (any, error) {
	if err := readAdmin(r, &struct{}{}); err != nil {
		return nil, err
	}
	return a.deps.Doctor.Examine(r.Context())
}
