package store

import "testing"

// A key is replaced in three steps, of which each can be made again and none be
// left out.
func TestKeysAreReplaced(t *testing.T) {
	for _, kind := range KeyKinds() {
		l := newLog(t)
		l.refused(ErrNotFound, NewPutKey(t0, kind, testKey(kind, 1)))
		l.must(NewClusterInit(t0, testIdentity()))
		has := func(primary uint32, ids ...uint32) {
			t.Helper()
			ring := l.Keys(kind)
			if ring.Primary != primary || len(ring.Keys) != len(ids) || ring.Newest() != ids[len(ids)-1] {
				t.Fatalf("%s: %+v, want %v, of which %d is used", kind, ring, ids, primary)
			}
			for _, id := range ids {
				if k, ok := ring.Key(id); !ok || k.ID != id {
					t.Errorf("key %d: %+v", id, k)
				}
			}
		}
		step := func(c Command, want KeyStep) {
			t.Helper()
			if r, events := l.apply(c); r.Err != nil || len(events) != 1 || events[0].Kind != EventKeysChanged || events[0].Key != kind || events[0].Step != want {
				t.Errorf("%s: %v, %+v", c, r.Err, events)
			}
		}
		has(1, 1)
		for id := uint32(1); id < 4; id++ {
			l.refused(ErrExists, NewPutKey(t0, kind, testKey(kind, id)))
			l.refused(ErrExists, NewPutKey(t0, kind, testKey(kind, id+2)))
			l.refused(ErrNotFound, NewUseKey(t0, kind, id+1))
			l.refused(ErrNotFound, NewDropKey(t0, kind, id))
			step(NewPutKey(t0, kind, testKey(kind, id+1)), KeyAdded)
			has(id, id, id+1)
			l.refused(ErrExists, NewPutKey(t0, kind, testKey(kind, id+2)))
			step(NewUseKey(t0, kind, id+1), KeyUsed)
			step(NewUseKey(t0, kind, id+1), KeyUsed)
			has(id+1, id, id+1)
			l.refused(ErrNotFound, NewDropKey(t0, kind, id+1))
			step(NewDropKey(t0, kind, id), KeyDropped)
			has(id+1, id+1)
			l.refused(ErrNotFound, NewDropKey(t0, kind, id))
		}
	}
}
