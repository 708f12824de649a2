package cluster

import (
	"testing"
	"testing/synctest"
	"time"
)

// leading is a leadership that has just begun, has caught up and has heard a
// majority.
func leading(term uint64) *leadership {
	l := newLeadership()
	l.begin(term, "", time.Now())
	l.setCaughtUp(term)
	l.setVerified(term, time.Now())
	return l
}

func TestRoomsMoveAfterTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := leading(1)
		if !l.grant("n2", time.Now()) {
			t.Fatal("no lease")
		}
		time.Sleep(placementAnew - time.Millisecond) // of the bubble, like all others here
		if l.claim("n2", placementAnew, time.Now()) {
			t.Error("claimed too early")
		}
		time.Sleep(time.Millisecond)
		l.setVerified(1, time.Now())
		if !l.claim("n2", placementAnew, time.Now()) {
			t.Error("not claimed")
		}
		if l.claim("n2", placementAnew, time.Now()) {
			t.Error("claimed twice")
		}
		if l.grant("n2", time.Now()) {
			t.Error("a lease while the rooms move")
		}
		if !l.grant("n3", time.Now()) {
			t.Error("another node has no part in that")
		}
		l.unclaim("n2")
		if !l.grant("n2", time.Now()) {
			t.Error("no lease after the rooms have moved")
		}
	})
}

func TestLeasesNeedAMajority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := leading(1)
		time.Sleep(leaseVerified)
		if l.grant("n2", time.Now()) {
			t.Error("granted on old news")
		}
		if !l.setVerified(1, time.Now()) || !l.grant("n2", time.Now()) {
			t.Error("not granted on fresh news")
		}
		if l.setVerified(2, time.Now()) {
			t.Error("a majority of another term")
		}
		l.pause(true)
		if l.grant("n2", time.Now()) {
			t.Error("granted while another may lead")
		}
		l.pause(false)
		if !l.grant("n2", time.Now()) {
			t.Error("not granted after the pause")
		}
		l.stop()
		if l.grant("n2", time.Now()) {
			t.Error("granted while stopping")
		}
	})
}

// A new leader cannot know what the one before granted, nor one that led
// before what another granted meanwhile.
func TestANewTermCountsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := leading(1)
		time.Sleep(time.Hour)
		if !l.begin(3, "n9", time.Now()) || l.begin(3, "n9", time.Now()) {
			t.Error("a term begins once")
		}
		if l.acts() {
			t.Error("acts before it has caught up")
		}
		if !l.unheard("n9") || l.unheard("n2") {
			t.Error("who led before may be dead")
		}
		l.setCaughtUp(1)
		if l.acts() {
			t.Error("caught up in another term")
		}
		l.setCaughtUp(3)
		if l.claim("n2", placementAnew, time.Now()) {
			t.Error("claimed at once")
		}
		if l.grant("n2", time.Now()) {
			t.Error("granted on the majority of another term")
		}
		time.Sleep(placementAnew)
		if !l.claim("n2", placementAnew, time.Now()) {
			t.Error("never claimed")
		}
		if !l.end() || l.end() {
			t.Error("a leadership ends once")
		}
		if l.acts() || l.claim("n3", 0, time.Now()) || l.grant("n3", time.Now()) {
			t.Error("acts after the end")
		}
	})
}
