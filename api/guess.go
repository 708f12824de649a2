package api

import (
	"errors"
	"net/http"
	"net/netip"
)

// doorAccount is where passwords of accounts are guessed, as guesses.Account has it.
const doorAccount = "account"

// guess lets whoever sent a request try a password of this user, or refuses unseen. The
// returned function is told what came of it.
func (s *Server) guess(r *http.Request, user string) (end func(error), err error) {
	from := clientOf(r)
	if s.cfg.Dev && from.IsLoopback() {
		return func(error) {}, nil
	}
	if wait := s.guesses.Try(doorAccount, user, from); wait > 0 {
		return nil, &failure{status: http.StatusTooManyRequests, code: "throttled",
			message: "Too many wrong passwords, try again later", retry: wait}
	}
	return func(err error) {
		switch {
		case err == nil:
			s.guesses.Right(doorAccount, user, from)
		case errors.Is(err, errWrongPassword):
			s.guesses.Wrong(doorAccount, user, from)
		default:
			s.guesses.Undo(doorAccount, user, from)
		}
	}, nil
}

// clientOf is who sent the request; node has seen to proxies.
func clientOf(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}
