package wire

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestChatOf(t *testing.T) {
	many := `{"type":"chat","chat":{"comments":[1` + strings.Repeat(",1", maxComments) + `]}}`
	const fetch = `{"type":"chat","chat":{"refresh":true}}`
	for data, want := range map[string]string{
		`{"type":"chat","chat":{"refresh":true,"comment":{"id":1,"message":"<b>"}}}`: `[{"type":"chat","chat":{"comment":{"id":1,"message":"<b>"}}}]`,
		`{"type":"chat","chat":{"refresh":true,"comments":[{"id":1},{"id":2}]}}`:     `[{"type":"chat","chat":{"comment":{"id":1}}} {"type":"chat","chat":{"comment":{"id":2}}}]`,
		many: `[` + fetch + `]`,
		// The same for everybody:
		fetch: "",
		`{"type":"chat","chat":{"refresh":true,"comment":null}}`: "",
		`{"type":"chat","chat":{"comments":[]}}`:                 "",
		`{"type":"chat","chat":7}`:                               "",
		`{"type":"recording","recording":{"status":1}}`:          "",
		`{"type":"other","chat":{"comment":{}}}`:                 "",
		`"chat"`:                                                 "",
	} {
		c, carries := ChatOf(json.RawMessage(data))
		got := ""
		if carries {
			got = fmt.Sprintf("%s", c.Relayed())
		}
		if got != want {
			t.Errorf("%s: %s, want %s", data, got, want)
		}
		if string(c.Fetch()) != fetch {
			t.Errorf("others: %s", c.Fetch())
		}
	}
}
