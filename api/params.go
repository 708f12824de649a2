package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Limits of a request.
const (
	MaxBody   = 64 << 10 // of what is passed on as well
	maxQuery  = 16 << 10
	maxParams = 100
	maxDepth  = 16 // of nested JSON
)

// params are a request's parameters, whichever way they came: clients put them
// into the query, a form or JSON, with any method. The body wins over the query.
type params map[string]string

// readParams reads all three. A parameter that is no text, number or truth
// value is left out: what this API reads is none of those.
func readParams(w http.ResponseWriter, r *http.Request) (params, error) {
	if len(r.URL.RawQuery) > maxQuery {
		return nil, refuse(http.StatusRequestURITooLong, "", "The query is too long")
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "", "The query is malformed")
	}
	p := make(params)
	p.addValues(query)

	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, refuse(http.StatusRequestEntityTooLarge, "", fmt.Sprintf("The body is larger than %d bytes", MaxBody))
	case err != nil:
		return nil, refuse(http.StatusBadRequest, "", "The body is incomplete")
	}
	if body = bytes.TrimSpace(body); len(body) > 0 {
		if err := p.addBody(r.Header.Get("Content-Type"), body); err != nil {
			return nil, err
		}
	}
	if len(p) > maxParams {
		return nil, refuse(http.StatusBadRequest, "", "Too many parameters")
	}
	return p, nil
}

func (p params) addBody(contentType string, body []byte) error {
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		media = ""
	}
	switch media {
	case "application/x-www-form-urlencoded":
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return refuse(http.StatusBadRequest, "", "The form is malformed")
		}
		p.addValues(form)
		return nil
	case "application/json":
		return p.addJSON(body)
	}
	return refuse(http.StatusUnsupportedMediaType, "", "The body must be a form (application/x-www-form-urlencoded) or JSON")
}

func (p params) addValues(values url.Values) {
	for name, v := range values {
		p[name] = v[len(v)-1]
	}
}

// addJSON takes the scalars of an object. Clients send null and [] for nothing.
func (p params) addJSON(body []byte) error {
	malformed := refuse(http.StatusBadRequest, "", "The JSON body is malformed")
	if !utf8.Valid(body) || tooDeep(body) {
		return malformed
	}
	var raw any
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if err := d.Decode(&raw); err != nil {
		return malformed
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return malformed
	}
	switch v := raw.(type) {
	case nil:
		return nil
	case []any:
		if len(v) == 0 {
			return nil
		}
		return malformed
	case map[string]any:
		for name, value := range v {
			switch value := value.(type) {
			case string:
				p[name] = value
			case json.Number:
				p[name] = value.String()
			case bool:
				p[name] = strconv.FormatBool(value)
			}
		}
		return nil
	}
	return malformed
}

// tooDeep bounds the nesting before anything is built from it.
func tooDeep(b []byte) bool {
	depth, text, escaped := 0, false, false
	for _, c := range b {
		switch {
		case escaped:
			escaped = false
		case text:
			escaped = c == '\\'
			text = c != '"'
		case c == '"':
			text = true
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

// text is a parameter of one line, without the blanks around it.
func (p params) text(name string, most int) (string, error) {
	v := strings.TrimSpace(p[name])
	switch {
	case !utf8.ValidString(v):
		return "", badParam(name, "not UTF-8")
	case len(v) > most*utf8.UTFMax || utf8.RuneCountInString(v) > most:
		return "", badParam(name, fmt.Sprintf("longer than %d characters", most))
	case strings.ContainsFunc(v, func(r rune) bool { return r < 0x20 || r == 0x7f }):
		return "", badParam(name, "control characters are not allowed")
	}
	return v, nil
}

// secret is a parameter that is taken as it is.
func (p params) secret(name string, most int) (string, error) {
	v := p[name]
	if len(v) > most || !utf8.ValidString(v) {
		return "", badParam(name, fmt.Sprintf("longer than %d bytes or not UTF-8", most))
	}
	return v, nil
}

// number is a whole number, or the fallback if the parameter is not there.
func (p params) number(name string, fallback, least, most int) (int, error) {
	v, ok := p[name]
	if !ok || v == "" {
		return fallback, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < least || n > most {
		return 0, badParam(name, fmt.Sprintf("a number from %d to %d wanted", least, most))
	}
	return n, nil
}

// truth is a yes or no, as PHP's clients write it; no if not there.
func (p params) truth(name string) (bool, error) {
	switch strings.ToLower(p[name]) {
	case "", "0", "false", "no", "off":
		return false, nil
	case "1", "true", "yes", "on":
		return true, nil
	}
	return false, badParam(name, "true or false wanted")
}
