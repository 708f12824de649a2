package call

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/talkd/talkd/doctor"
	"github.com/talkd/talkd/load"
	"github.com/talkd/talkd/signaling/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// expect looks for one finding with these words.
func expect(t *testing.T, name string, found []doctor.Finding, want doctor.Result, words string) {
	t.Helper()
	if len(found) != 1 || found[0].Result != want || !strings.Contains(found[0].Text+found[0].Do, words) || want == doctor.Failed && found[0].Do == "" {
		t.Errorf("%s: %+v, want %s with %q", name, found, want, words)
	}
}

// TestWords has what is said of calls that do not come about. Those that do are made
// in test/e2e.
func TestWords(t *testing.T) {
	lost := &load.Unconnected{Offered: []load.Way{{Protocol: "udp", Address: "192.0.2.1:8084"}, {Protocol: "tcp", Address: "192.0.2.1:8085"}}}
	for name, tt := range map[string]struct {
		err, byTCP error
		want       doctor.Result
		words      string
	}{
		"neither":      {fmt.Errorf("publish: %w", lost), lost, doctor.Failed, "192.0.2.1:8084, nor by TCP"},
		"TCP only":     {lost, nil, doctor.Warning, "only by TCP"},
		"nowhere":      {&load.Unconnected{}, lost, doctor.Failed, "nowhere"},
		"older":        {&wire.Error{Code: wire.CodeClientType}, nil, doctor.Failed, "upgrade it"},
		"ticket":       {&wire.Error{Code: wire.CodeInvalidTicket}, nil, doctor.Failed, "same cluster"},
		"full":         {&wire.Error{Code: wire.CodeClusterFull}, nil, doctor.Failed, "add a node"},
		"another code": {&wire.Error{Code: "odd", Message: "text"}, nil, doctor.Failed, "text"},
		"anything":     {errors.New("cut"), nil, doctor.Failed, "cut"},
	} {
		p := &place{Node: Node{Name: "n1"}}
		p.failed(tt.err, tt.byTCP)
		expect(t, name, p.found, tt.want, tt.words)
	}
	if got := describe(lost, "tcp"); got != "no connection to 192.0.2.1:8085" {
		t.Error(got)
	}

	l := &look{Plan: Plan{TURN: &doctor.TURN{}}}
	for name, tt := range map[string]struct {
		err   error
		want  doctor.Result
		words string
	}{
		"relayed": {nil, doctor.OK, "by the TURN server"},
		"denied":  {fmt.Errorf("publish: %w", lost), doctor.Failed, "192.0.2.1:8084"},
	} {
		p := &place{}
		l.judgeRelayed(p, tt.err)
		expect(t, name, p.found, tt.want, tt.words)
	}
	none := &place{}
	l.judgeRelayed(none, errors.New("no socket"))
	(&look{}).judgeRelayed(none, nil)
	if len(none.found) > 0 {
		t.Errorf("%+v", none.found)
	}

	var slow load.Delays
	slow.Add(time.Second)
	for name, tt := range map[string]struct {
		counts load.Counts
		want   doctor.Result
		words  string
	}{
		"well": {load.Counts{Received: 50}, doctor.OK, "nothing is missing"},
		"loss": {load.Counts{Received: 45, Gaps: 5}, doctor.Warning, "10.0 % of the packets"},
		"late": {load.Counts{Received: 50, Delays: slow}, doctor.Warning, "nearer"},
	} {
		p := &place{}
		heard(p, "voice", tt.counts)
		expect(t, name, p.found, tt.want, tt.words)
	}
}

// TestNobody: a node that does not let the probe in is told of, and does not hold up.
func TestNobody(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	defer http.DefaultClient.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	expect(t, "no node", Look(ctx, Plan{Nodes: []Node{{Name: "n1", URL: s.URL}}, Ticket: "t", Room: "r"}), doctor.Failed, "404")
}
