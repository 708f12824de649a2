package signaling

import (
	"fmt"
	"slices"
	"testing"

	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/store"
)

// TestDirectory: a node that has told all it has, under the same view, hears of its
// own users only; any other hears of all.
func TestDirectory(t *testing.T) {
	h := lonely(t)
	nodes := []Node{{ID: "n1", Alive: true}, {ID: "n2", Alive: true}, {ID: "n3", Suspect: true}, {ID: "n4"}}
	h.directoryFollows(nodes)
	d := h.directory
	view := viewOf([]store.NodeID{"n1", "n2", "n3"})
	if d.view != view {
		t.Fatalf("view of %v", d.nodes)
	}
	asked := func(what string, route uint64, want ...string) {
		t.Helper()
		got := d.plan(&signalpb.User{UserIds: []string{"a", "b"}, Route: route}, "n3", []store.NodeID{"n2", "n3"})["n2"]
		if !slices.Equal(got, want) {
			t.Errorf("%s: hears of %v, want %v", what, got, want)
		}
	}
	names := func(ids ...string) (list []*signalpb.UserName) {
		for _, id := range ids {
			list = append(list, &signalpb.UserName{Id: id})
		}
		return list
	}
	asked("nothing told", view, "a", "b")
	d.heard("n2", &signalpb.At{Begin: true, Here: names("a")})
	asked("not all told", view, "a", "b")
	d.heard("n2", &signalpb.At{Here: names("c"), Whole: true, View: view})
	asked("all told", view, "a")
	asked("the sender sees other nodes", view+2, "a", "b")
	d.heard("n2", &signalpb.At{Here: names("b"), Gone: names("a")})
	asked("changed", view, "b")
	d.heard("n2", &signalpb.At{Begin: true, Whole: true, View: view})
	asked("told anew", view)
	d.heard("n2", &signalpb.At{Begin: true, Whole: true, View: view + 2})
	asked("it sees other nodes", view, "a", "b")
	d.heard("n2", &signalpb.At{Begin: true, Whole: true, View: view})
	asked("nobody there", view)
	// Its word of somebody came later than what was said to them, a moment ago.
	d.routed = d.routed[len(d.routed)-1:]
	if missed := d.heard("n2", &signalpb.At{Here: names("a", "c")}); len(missed) != 1 || !slices.Equal(missed[0].GetUser().GetUserIds(), []string{"a"}) {
		t.Errorf("missed: %v", missed)
	}
	d.routed[0].at = d.routed[0].at.Add(-oldRouted)
	if missed := d.heard("n2", &signalpb.At{Here: names("b")}); len(missed) > 0 {
		t.Errorf("missed long ago: %v", missed)
	}
	// What a node was passed when it had not told all yet it does not get once more.
	d.heard("n2", &signalpb.At{Begin: true})
	asked("not all told again", view, "a", "b")
	d.heard("n2", &signalpb.At{Whole: true, View: view})
	if missed := d.heard("n2", &signalpb.At{Here: names("a")}); len(missed) > 0 {
		t.Errorf("passed twice: %v", missed)
	}
	d.lost("n2")
	asked("the link has broken", view, "a", "b")
	if d.routable("n2") || len(d.at) > 0 || len(d.of) > 0 {
		t.Errorf("kept: %v %v", d.at, d.of)
	}

	// Each user has one node, of those that are alive, and all nodes have users.
	byNode := make(map[store.NodeID]int)
	for i := range 300 {
		routes, _ := d.routes("b", []string{fmt.Sprint("user", i)})
		for node := range routes {
			byNode[node]++
		}
	}
	if len(byNode) != 3 || byNode["n1"]+byNode["n2"]+byNode["n3"] != 300 || min(byNode["n1"], byNode["n2"], byNode["n3"]) < 50 {
		t.Errorf("users %v", byNode)
	}
}
