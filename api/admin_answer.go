package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/talkd/talkd/store"
)

// answer turns a function that returns facts into a handler.
func (a *Admin) answer(status int, f func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), adminTimeout)
		defer cancel()
		v, err := f(r.WithContext(ctx))
		if err == nil {
			writeJSON(w, status, v)
			return
		}
		fail := adminFailure(err)
		if fail.status >= http.StatusInternalServerError {
			a.log.WarnContext(ctx, "request failed", "route", r.Pattern, "error", err)
		}
		writeAdminError(w, fail.status, fail.message)
	}
}

// adminFailure is failureOf for operators: they are those to whom the cause is
// of use.
func adminFailure(err error) *failure {
	switch {
	case errors.Is(err, ErrRefused):
		return &failure{status: http.StatusConflict, message: err.Error()}
	case errors.Is(err, store.ErrNoSuchNode):
		return &failure{status: http.StatusNotFound, message: "no such node, GET /admin/v1/nodes lists them"}
	case errors.Is(err, ErrNoRoom):
		return &failure{status: http.StatusNotFound, message: "nobody is in such a room, GET /admin/v1/rooms lists those with somebody"}
	case errors.Is(err, ErrNoBackend):
		return &failure{status: http.StatusNotFound, message: "no such Nextcloud is served, GET /admin/v1/backends lists them"}
	case errors.Is(err, ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		return &failure{
			status:  http.StatusServiceUnavailable,
			message: "the cluster cannot decide now (no leader, or no quorum): look at GET /admin/v1/cluster, and ask again",
		}
	}
	fail := failureOf(err)
	if fail.status >= http.StatusInternalServerError {
		fail.message = err.Error()
	}
	return fail
}

// readAdmin reads a JSON body strictly; no body is the empty one.
func readAdmin(r *http.Request, into any) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			return nil
		}
		err = errors.New("text after the JSON value")
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return refuse(http.StatusRequestEntityTooLarge, "", fmt.Sprintf("the body is larger than %d bytes", MaxBody))
	}
	return refuse(http.StatusBadRequest, "", fmt.Sprintf("the body is not the JSON that is wanted: %.200s", err.Error()))
}

func writeAdminError(w http.ResponseWriter, status int, message string) {
	writeJSON(w, status, struct {
		Error string `json:"error"`
	}{message})
}
