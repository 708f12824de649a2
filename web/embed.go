// Package web serves the browser client that is embedded into the binary.
//
//	dist/ (built by npm, committed) → read once by Handler, gzipped once
//	  → GET /assets/…        immutable, the name carries the hash
//	  → GET / , /call/{token} index.html, asked again every time
//
// It starts no goroutines and holds no state but the read-only files.
package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"
)

//go:embed all:dist
var dist embed.FS

// Config says what the pages of this node may talk to.
type Config struct {
	// Origins returns the public URLs of all nodes. It is called for every
	// page, so a node that joins later is reachable from the next page on.
	// Nil means this node only.
	Origins func() []string
}

// Handler serves the client: "/", "/call/{token}" and the built files. Every
// other path is answered 404.
func Handler(cfg Config) http.Handler {
	files := load(dist)
	mux := http.NewServeMux()
	page := func(w http.ResponseWriter, r *http.Request) {
		index, ok := files["index.html"]
		if !ok {
			http.Error(w, "the web client is not part of this build", http.StatusServiceUnavailable)
			return
		}
		secure(w.Header(), cfg.Origins)
		w.Header().Set("Cache-Control", "no-cache")
		index.serve(w, r)
	}
	mux.HandleFunc("GET /{$}", page)
	mux.HandleFunc("GET /call/{token}", func(w http.ResponseWriter, r *http.Request) {
		if !validToken(r.PathValue("token")) {
			http.NotFound(w, r)
			return
		}
		page(w, r)
	})
	mux.HandleFunc("GET /{file...}", func(w http.ResponseWriter, r *http.Request) {
		name := r.PathValue("file")
		f, ok := files[name]
		if !ok || name == "index.html" {
			http.NotFound(w, r)
			return
		}
		secure(w.Header(), nil)
		if strings.HasPrefix(name, "assets/") {
			w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		} else {
			w.Header().Set("Cache-Control", "no-cache")
		}
		f.serve(w, r)
	})
	return mux
}

// file is one built file, ready to be sent.
type file struct {
	contentType string
	etag        string
	plain       []byte
	gzipped     []byte // nil when compressing does not pay
}

func (f *file) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", f.contentType)
	body, etag := f.plain, f.etag
	if f.gzipped != nil {
		h.Add("Vary", "Accept-Encoding")
		if acceptsGzip(r.Header.Get("Accept-Encoding")) {
			// A representation of its own, hence an ETag of its own (RFC 9110 section 8.8.3.3).
			h.Set("Content-Encoding", "gzip")
			body, etag = f.gzipped, f.etag+"-gz"
		}
	}
	h.Set("ETag", `"`+etag+`"`)
	// ServeContent answers If-None-Match, HEAD and ranges.
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}

func load(root fs.FS) map[string]*file {
	files := map[string]*file{}
	// Reading an embedded file system does not fail; what could not be read
	// would be missing, and a missing index.html is answered as such.
	_ = fs.WalkDir(root, "dist", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(body)
		f := &file{
			contentType: contentType(name),
			etag:        base64.RawURLEncoding.EncodeToString(sum[:12]),
			plain:       body,
		}
		if packed := pack(body); len(packed) < len(body)*9/10 {
			f.gzipped = packed
		}
		files[strings.TrimPrefix(name, "dist/")] = f
		return nil
	})
	return files
}

func pack(body []byte) []byte {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	// Writes to a bytes.Buffer do not fail.
	_, _ = w.Write(body)
	_ = w.Close()
	return buf.Bytes()
}

// contentType does not ask the mime package: that reads the machine's tables,
// and with nosniff a wrong type stops the page.
func contentType(name string) string {
	switch path.Ext(name) {
	case ".html":
		return "text/html; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	case ".json", ".webmanifest":
		return "application/json"
	case ".txt":
		return "text/plain; charset=utf-8"
	case ".png":
		return "image/png"
	case ".woff2":
		return "font/woff2"
	default:
		return "application/octet-stream"
	}
}

// acceptsGzip reads Accept-Encoding (RFC 9110 section 12.5.3) as far as one
// coding needs it: named and not refused by a weight of zero.
func acceptsGzip(header string) bool {
	for part := range strings.SplitSeq(header, ",") {
		coding, params, _ := strings.Cut(part, ";")
		if !strings.EqualFold(strings.TrimSpace(coding), "gzip") {
			continue
		}
		value, weighted := strings.CutPrefix(strings.TrimSpace(params), "q=")
		if !weighted {
			return true
		}
		q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		return err == nil && q > 0
	}
	return false
}

// validToken bounds what is answered with the page; whether the conversation
// exists is told by the API, alike for unknown and forbidden ones.
func validToken(token string) bool {
	if token == "" || len(token) > 64 {
		return false
	}
	for _, c := range []byte(token) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}
