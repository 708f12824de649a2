package api

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// Codes of the OCS envelope that are no HTTP status.
const (
	ocsOK           = 100 // version 1 says so instead of 200
	ocsUnauthorised = 997
	ocsUnknownRoute = 998
)

// envelope is the frame of each answer below /ocs/.
type envelope struct {
	OCS struct {
		Meta ocsMeta `json:"meta"`
		Data any     `json:"data"`
	} `json:"ocs"`
}

type ocsMeta struct {
	Status       string  `json:"status"`
	StatusCode   int     `json:"statuscode"`
	Message      string  `json:"message"`
	TotalItems   *string `json:"totalitems,omitempty"`
	ItemsPerPage *string `json:"itemsperpage,omitempty"`
}

// ocsVersion is 1 or 2. Version 1 speaks over HTTP 200 whatever happens, except
// to those who are not logged in.
type ocsVersion int

// reply is what a handler answers; status 0 means 200.
type reply struct {
	status int
	data   any
}

func (v ocsVersion) write(w http.ResponseWriter, r reply) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	meta := ocsMeta{Status: "ok", StatusCode: r.status, Message: "OK"}
	status := r.status
	if v == 1 {
		status, meta.StatusCode = http.StatusOK, ocsOK
		empty := ""
		meta.TotalItems, meta.ItemsPerPage = &empty, &empty
	}
	writeOCS(w, status, meta, r.data)
}

func (v ocsVersion) writeFailure(w http.ResponseWriter, f *failure) {
	meta := ocsMeta{Status: "failure", StatusCode: f.status, Message: f.message}
	status := f.status
	if f.status == http.StatusUnauthorized {
		meta.StatusCode = ocsUnauthorised
		// A challenge for Basic would make browsers ask for a password in a
		// window of their own.
		w.Header().Set("WWW-Authenticate", `Bearer realm="talkd"`)
	} else if v == 1 {
		status = http.StatusOK
	}
	if f.retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(f.retry.Seconds()+0.999)))
	}
	var data any
	if f.code != "" {
		data = struct {
			Error   string `json:"error"`
			Message string `json:"message"`
		}{f.code, f.message}
	}
	writeOCS(w, status, meta, data)
}

func (v ocsVersion) writeUnknownRoute(w http.ResponseWriter) {
	status := http.StatusNotFound
	if v == 1 {
		status = http.StatusOK
	}
	writeOCS(w, status, ocsMeta{Status: "failure", StatusCode: ocsUnknownRoute, Message: "Not served here, check the path and the API version"}, nil)
}

func writeOCS(w http.ResponseWriter, status int, meta ocsMeta, data any) {
	var e envelope
	e.OCS.Meta, e.OCS.Data = meta, data
	writeJSON(w, status, e)
}

// writeJSON answers with what must not be kept by anybody in between.
func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil { // only for a type that no answer has
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(b) // a client that is gone needs no answer
}
