package signaling

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// TestDialoutInTime: a client that does not answer keeps nobody waiting for ever, and has only so
// many questions at a time.
func TestDialoutInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := lonely(t)
		s := h.newSession("bridge", identity{internal: true, features: []string{wire.ClientStartDialout}}, 1)
		s.conn, s.mostQueued = h.newConn(nil), maxQueued
		if err := h.add(s); err != nil {
			t.Fatal(err)
		}
		ask := func() error {
			_, err := h.Dialout(t.Context(), store.RoomID{Name: "room"}, &backend.Dialout{Number: "1"})
			return err
		}
		expect := func(err error, code wire.Code) {
			var refused *wire.Error
			if !errors.As(err, &refused) || refused.Code != code {
				t.Errorf("%v, want %s", err, code)
			}
		}
		done := make(chan error, maxDialouts)
		for range maxDialouts {
			go func() { done <- ask() }()
		}
		synctest.Wait()
		expect(ask(), wire.CodeTooManyRequests)
		began := time.Now()
		for range maxDialouts {
			expect(<-done, codeTimeout)
		}
		if took := time.Since(began); took != dialoutPatience {
			t.Errorf("took %v", took)
		}
		if len(s.dialouts) != 0 {
			t.Errorf("%d are left", len(s.dialouts))
		}
		s.conn = nil // away
		expect(ask(), codeNoClient)
		h.remove(s)
		s.end("")
	})
}
