package rpc

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// recovery ends a call whose handler panics, and not the node: what another
// node sends must not stop this one.
type recovery struct {
	log     *slog.Logger
	metrics *metrics
}

func (r recovery) unary(ctx context.Context, q any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (reply any, err error) {
	defer r.recover(info.FullMethod, &err)
	return next(ctx, q)
}

func (r recovery) stream(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	defer r.recover(info.FullMethod, &err)
	return next(srv, s)
}

// recover is to be deferred.
func (r recovery) recover(method string, err *error) {
	v := recover()
	if v == nil {
		return
	}
	r.metrics.panics.Inc()
	r.log.Error("a call panicked", "method", method, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
	*err = status.Error(codes.Internal, "panic")
}
