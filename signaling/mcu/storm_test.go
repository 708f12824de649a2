package mcu_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/signaling/mcu"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// Whatever happens at the same time, every message is answered exactly once,
// every connection closed, and every publication announced before it is
// withdrawn.
func TestStorm(t *testing.T) {
	s := newStage(t, mcu.Config{Subscribers: 8, Queue: 8})
	fails := func(ctx context.Context) error {
		switch rand.IntN(4) {
		case 0:
			return errors.New("for the test")
		case 1:
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		return nil
	}
	s.engine.onPublish = func(ctx context.Context, r media.PublishRequest) error {
		r.OnCandidate(media.Candidate{Candidate: "ours"})
		return fails(ctx)
	}
	s.engine.onSubscribe = func(ctx context.Context, r media.SubscribeRequest) error {
		r.OnCandidate(media.Candidate{Candidate: "ours"})
		if rand.IntN(8) == 0 {
			r.OnClose(media.ErrConnection)
		}
		return fails(ctx)
	}
	s.engine.onRebind = func(media.Publication) error { return fails(context.Background()) }

	var mu sync.Mutex
	var outcomes []*outcome
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			dice := rand.New(rand.NewPCG(uint64(worker), 7))
			for i := range 500 {
				kind := []string{"video", "screen"}[dice.IntN(2)]
				who := store.SessionID(fmt.Sprint("p", dice.IntN(3)))
				pub := publication(who, kind, uint32(i))
				sid := []string{"", s.lastSID(), "1", "2"}[dice.IntN(4)]
				var o *outcome
				switch dice.IntN(16) {
				case 0, 1:
					o = s.post(own, offer(kind, sid))
				case 2:
					o = s.post(own, candidate(kind, sid, "c"))
				case 3, 4, 5:
					o = s.post(who, requestOffer(kind, sid))
				case 6:
					o = s.post(who, answer(kind, sid))
				case 7:
					o = s.post(who, candidate(kind, sid, "c"))
				case 8:
					o = s.post(own, wire.MediaMessage{Type: wire.MediaUnshareScreen, RoomType: "screen"})
				case 9, 10:
					s.dir.put(pub)
					s.Announced(pub)
				case 11:
					s.Withdrawn(pub.ID)
				case 12:
					s.Gone(who)
				case 13:
					s.Offer(who, kind)
				case 14:
					s.Counts()
					s.Published()
				case 15:
					if dice.IntN(8) == 0 {
						s.Enter(fmt.Sprint("room", i))
					}
				}
				if o != nil {
					mu.Lock()
					outcomes = append(outcomes, o)
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	s.Close()
	s.checkClosed()
	for _, o := range outcomes {
		if got := o.String(); got == "waiting" || strings.Contains(got, " ") {
			t.Errorf("a message was answered: %s", got)
		}
	}
	announced := map[string]int{}
	for _, line := range s.host.take() {
		if id, ok := strings.CutPrefix(line, "announce "); ok {
			announced[id]++
		}
		if id, ok := strings.CutPrefix(line, "withdraw "); ok {
			if announced[id] != 1 {
				t.Errorf("%s was announced %d times before its end", id, announced[id])
			}
			delete(announced, id)
		}
	}
	if len(announced) > 0 {
		t.Errorf("never withdrawn: %v", announced)
	}
}
