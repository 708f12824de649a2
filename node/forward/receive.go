package forward

import (
	"context"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/talkd/talkd/store"
)

// catchUp is how long a server waits to hear of what the asking node has.
const catchUp = 2 * time.Second

type callerKey struct{}

// Caller is the node that passed the request on.
func Caller(ctx context.Context) (store.NodeID, bool) {
	id, ok := ctx.Value(callerKey{}).(store.NodeID)
	return id, ok
}

// WithCaller is the context of a connection from another node.
func WithCaller(ctx context.Context, id store.NodeID) context.Context {
	return context.WithValue(ctx, callerKey{}, id)
}

// Members is what a server knows, met by cluster.Cluster.
type Members interface {
	Node(store.NodeID) (store.Node, bool)
	// Reached returns when what is at this index is applied here.
	Reached(ctx context.Context, index uint64) error
}

// Receive serves what other nodes pass on, as if the client had come here.
func Receive(members Members, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, ok := Caller(r.Context())
		if _, member := members.Node(id); !ok || !member {
			http.Error(w, "this is for nodes of the cluster", http.StatusForbidden)
			return
		}
		index, err := strconv.ParseUint(r.Header.Get(headerIndex), 10, 64)
		if err != nil {
			http.Error(w, "it is not said what the asking node knows", http.StatusBadRequest)
			return
		}
		waiting, cancel := context.WithTimeout(r.Context(), catchUp)
		err = members.Reached(waiting, index)
		cancel()
		if err != nil {
			w.Header().Set(headerBehind, "1")
			http.Error(w, "this server is behind", http.StatusServiceUnavailable)
			return
		}
		r = r.WithContext(r.Context()) // a copy: the caller's request stays as it is
		r.RemoteAddr = ""
		if client, err := netip.ParseAddrPort(r.Header.Get(headerClient)); err == nil {
			r.RemoteAddr = client.String()
		}
		r.Header = r.Header.Clone()
		r.Header.Del(headerClient)
		r.Header.Del(headerIndex)
		next.ServeHTTP(w, r)
	})
}
