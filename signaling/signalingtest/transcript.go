package signalingtest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/talkd/talkd/signaling/wire"
)

// Stage is where transcripts are played.
type Stage struct {
	// Nodes are base URLs; the first is number 1.
	Nodes []string
	// Nextcloud posts the backend requests of a transcript, and is <authurl>.
	Nextcloud *Nextcloud
	// Names are placeholders that stand for something from the start.
	Names map[string]string
	// Update rewrites the expectations that were not met with what came.
	Update bool
	// Differs, if it is there, hears of each expectation that is not met, and the
	// story goes on: for a server that is not ours.
	Differs func(what string)
}

// Play plays a transcript: a text file with one step on each line.
//
//	# a comment
//	@alice 2            alice connects to node 2 (node 1 if left out)
//	alice> {…}          she sends this frame; what is not an object goes as it is
//	alice< {…}          her next message is this
//	alice<? {…}         this is among her unread messages, or comes
//	alice> cut          her connection breaks
//	alice< closed 1000  the server closes it (any status if left out), and said nothing more
//	!200 room {…}       the Nextcloud posts this for the room, and gets status 200
//	!> room {…}         it posts this, and goes on
//	!< 200 {…}          it gets that status, and the answer that is expected
//
// In what is expected, "*" matches anything and {"*":"*"} allows further
// members; "<name>" matches any text at first, and the same text from then on.
// In what is sent, and in names of members, it stands for that text. The browser's tests read the same
// files.
func Play(t *testing.T, file string, stage Stage) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	steps, err := parseTranscript(text)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	p := &player{t: t, file: file, stage: stage, names: names{}, clients: make(map[string]*Client), told: make(map[string]bool)}
	maps.Copy(p.names, stage.Names)
	if stage.Nextcloud != nil {
		p.names["authurl"] = stage.Nextcloud.AuthURL()
	}
	for i := range steps {
		p.play(&steps[i])
	}
	if stage.Differs != nil {
		p.finish()
		return
	}
	if !stage.Update {
		return
	}
	updated := writeTranscript(steps)
	if bytes.Equal(updated, text) {
		return
	}
	if err := os.WriteFile(file, updated, 0o644); err != nil {
		t.Fatal(err)
	}
}

type verb string

const (
	verbNone    verb = "" // comment or empty line
	verbConnect verb = "@"
	verbSend    verb = ">"
	verbNext    verb = "<"
	verbSome    verb = "<?"
	verbPost    verb = "!"
	verbAsk     verb = "!>"
	verbAnswer  verb = "!<"
)

// step is one line of a transcript.
type step struct {
	line   int
	verb   verb
	name   string // of the client, or of the room
	number int    // of the node, or the status
	body   string
	text   string // the line as it was read
}

const (
	bodyCut    = "cut"
	bodyClosed = "closed"
)

// maxLine is the longest line of a transcript; an SDP is long.
const maxLine = 1 << 20

func parseTranscript(text []byte) ([]step, error) {
	var steps []step
	s := bufio.NewScanner(bytes.NewReader(text))
	s.Buffer(nil, maxLine)
	for n := 1; s.Scan(); n++ {
		st, err := parseStep(s.Text())
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		st.line, st.text = n, s.Text()
		steps = append(steps, st)
	}
	return steps, s.Err()
}

func parseStep(line string) (step, error) {
	trimmed := strings.TrimSpace(line)
	switch {
	case trimmed == "" || trimmed[0] == '#':
		return step{}, nil
	case trimmed[0] == '@':
		name, node, _ := strings.Cut(trimmed[1:], " ")
		number, err := atoi(node, 1)
		if err != nil || !isName(name) {
			return step{}, fmt.Errorf("not a client and its node: %q", trimmed)
		}
		return step{verb: verbConnect, name: name, number: number}, nil
	case strings.HasPrefix(trimmed, string(verbAsk)), strings.HasPrefix(trimmed, string(verbAnswer)):
		return parseAsk(verb(trimmed[:2]), strings.TrimSpace(trimmed[2:]))
	case trimmed[0] == '!':
		fields := strings.SplitN(trimmed[1:], " ", 3)
		if len(fields) != 3 {
			return step{}, fmt.Errorf("not a status, a room and a body: %q", trimmed)
		}
		status, err := atoi(fields[0], 0)
		return step{verb: verbPost, name: fields[1], number: status, body: fields[2]}, err
	}
	i := strings.IndexAny(trimmed, "<>")
	if i < 0 || !isName(trimmed[:i]) {
		return step{}, fmt.Errorf("not a step: %q", trimmed)
	}
	st := step{verb: verb(trimmed[i : i+1]), name: trimmed[:i], body: strings.TrimSpace(trimmed[i+1:])}
	if rest, ok := strings.CutPrefix(trimmed[i:], string(verbSome)); ok {
		st.verb, st.body = verbSome, strings.TrimSpace(rest)
	}
	if st.body == "" {
		return step{}, fmt.Errorf("nothing to send or expect: %q", trimmed)
	}
	return st, nil
}

func parseAsk(v verb, rest string) (step, error) {
	first, body, ok := strings.Cut(rest, " ")
	if !ok {
		return step{}, fmt.Errorf("not a room or a status, and a body: %q", rest)
	}
	if v == verbAsk {
		return step{verb: v, name: first, body: body}, nil
	}
	status, err := atoi(first, 0)
	return step{verb: v, number: status, body: body}, err
}

func atoi(s string, otherwise int) (int, error) {
	if s = strings.TrimSpace(s); s == "" {
		return otherwise, nil
	}
	return strconv.Atoi(s)
}

// clientName is what clients may be called in a transcript.
var clientName = regexp.MustCompile(`^[a-z0-9_-]+$`)

func isName(s string) bool { return clientName.MatchString(s) }

func writeTranscript(steps []step) []byte {
	var b bytes.Buffer
	for _, s := range steps {
		b.WriteString(s.text)
		b.WriteByte('\n')
	}
	return b.Bytes()
}

type player struct {
	t       *testing.T
	file    string
	stage   Stage
	names   names
	clients map[string]*Client
	asked   chan posted     // what the Nextcloud asked last
	told    map[string]bool // by name and frame; what came before its time, if that differs
}

// posted is the answer to a request of the Nextcloud.
type posted struct {
	status int
	text   string
}

func (p *player) play(s *step) {
	p.t.Helper()
	if p.stage.Differs != nil && (s.verb == verbNext || s.verb == verbSome) {
		p.compare(s)
		return
	}
	switch s.verb {
	case verbConnect:
		if s.number < 1 || s.number > len(p.stage.Nodes) {
			p.fail(s, "no node %d", s.number)
		}
		p.clients[s.name] = Dial(p.t, p.stage.Nodes[s.number-1])
	case verbSend:
		p.send(s)
	case verbNext:
		p.next(s)
	case verbSome:
		p.some(s)
	case verbPost:
		if got := <-p.post(s); got.status != s.number {
			p.unmet(s, "status %d: %s", got.status, got.text)
		}
	case verbAsk:
		p.asked = p.post(s)
	case verbAnswer:
		p.answer(s)
	}
}

func (p *player) send(s *step) {
	p.t.Helper()
	c := p.client(s)
	if s.body == bodyCut {
		c.Cut()
		return
	}
	frame := []byte(s.body)
	if frame[0] == '{' {
		// What is not JSON is sent as it is, to see how it is refused.
		if _, err := parseJSON(frame); err == nil {
			if frame, err = p.names.fill(frame); err != nil {
				p.unmet(s, "%v", err)
				return
			}
		}
	}
	if _, over := c.more(); over && p.stage.Differs != nil {
		p.differ(s, "the connection is over")
		return
	}
	c.SendRaw(frame)
}

func (p *player) next(s *step) {
	p.t.Helper()
	c := p.client(s)
	if status, ok := strings.CutPrefix(s.body, bodyClosed); ok {
		want, err := atoi(status, 0)
		if err != nil {
			p.fail(s, "%v", err)
		}
		if got := int(c.ExpectClose()); want != 0 && got != want {
			p.fail(s, "closed with status %d", got)
		}
		if left := c.Drain(); len(left) > 0 {
			p.fail(s, "before that it said %s", wire.Encode(left[0]))
		}
		return
	}
	l := c.expect(fmt.Sprintf("%s:%d: next message", p.file, s.line), func(*letter) bool { return true })
	err := p.names.match([]byte(s.body), l.frame)
	if err == nil {
		return
	}
	if !p.stage.Update {
		p.fail(s, "%v\n  got %s", err, l.frame)
	}
	p.learn(s.name, l.message)
	s.text = s.name + string(verbNext) + " " + string(p.names.hide(l.frame))
}

// learn names the ids of a session, which differ at each run.
func (p *player) learn(client string, m wire.ServerMessage) {
	if m.Hello == nil {
		return
	}
	for name, value := range map[string]string{
		client + ".sessionid": string(m.Hello.SessionID),
		client + ".resumeid":  m.Hello.ResumeID,
	} {
		if _, known := p.names[name]; !known {
			p.names[name] = value
		}
	}
}

func (p *player) some(s *step) {
	p.t.Helper()
	p.client(s).expect(fmt.Sprintf("%s:%d: %s", p.file, s.line, s.body), func(l *letter) bool {
		return p.names.match([]byte(s.body), l.frame) == nil
	})
}

func (p *player) post(s *step) chan posted {
	p.t.Helper()
	if p.stage.Nextcloud == nil {
		p.fail(s, "no Nextcloud on the stage")
	}
	body, err := p.names.fill([]byte(s.body))
	if err != nil {
		p.fail(s, "%v", err)
	}
	done := make(chan posted, 1)
	go func() {
		status, text := p.stage.Nextcloud.Post(p.stage.Nodes[0], s.name, body)
		done <- posted{status, text}
	}()
	return done
}

func (p *player) answer(s *step) {
	p.t.Helper()
	if p.asked == nil {
		p.fail(s, "nothing was asked")
	}
	got := <-p.asked
	p.asked = nil
	err := p.names.match([]byte(s.body), []byte(got.text))
	if err == nil && got.status != s.number {
		err = errors.New("another status")
	}
	if err == nil {
		return
	}
	if !p.stage.Update {
		p.unmet(s, "%v\n  got %d %s", err, got.status, got.text)
		return
	}
	s.text = fmt.Sprintf("%s %d %s", verbAnswer, got.status, p.names.hide([]byte(got.text)))
}

func (p *player) client(s *step) *Client {
	p.t.Helper()
	c, ok := p.clients[s.name]
	if !ok {
		p.fail(s, "%s has not connected", s.name)
	}
	return c
}

// unmet is an expectation that is not met.
func (p *player) unmet(s *step, format string, args ...any) {
	p.t.Helper()
	if p.stage.Differs == nil {
		p.fail(s, format, args...)
	}
	p.differ(s, format, args...)
}

func (p *player) fail(s *step, format string, args ...any) {
	p.t.Helper()
	p.t.Fatalf("%s:%d: %s\n  %s", p.file, s.line, fmt.Sprintf(format, args...), s.text)
}
