package wire

import (
	"bytes"
	"encoding/json"
)

// maxComments is how many comments of one message are handed on one by one. Where
// more come at once, clients are better off to fetch them.
const maxComments = 100

// Chat is what a backend tells of new comments in the chat of a room.
type Chat struct {
	Refresh  bool              `json:"refresh,omitempty"`
	Comment  json.RawMessage   `json:"comment,omitempty"`
	Comments []json.RawMessage `json:"comments,omitempty"`
}

// ChatOf reads the data of a message of a backend. It is false if they carry no
// comments, and so are the same for everybody.
func ChatOf(data json.RawMessage) (c Chat, carries bool) {
	if !bytes.Contains(data, []byte(`"chat"`)) {
		return c, false
	}
	var m struct {
		Type string `json:"type"`
		Chat Chat   `json:"chat"`
	}
	if json.Unmarshal(data, &m) != nil || m.Type != "chat" {
		return c, false
	}
	c = m.Chat
	if isPresent(c.Comment) {
		c.Comments = append([]json.RawMessage{c.Comment}, c.Comments...)
	}
	return c, len(c.Comments) > 0
}

// Relayed is what clients get that list ClientChatRelay: each comment, if they are
// not too many.
func (c Chat) Relayed() []json.RawMessage {
	if len(c.Comments) > maxComments {
		return []json.RawMessage{c.Fetch()}
	}
	out := make([]json.RawMessage, len(c.Comments))
	for i, comment := range c.Comments {
		out[i] = chatData(Chat{Comment: comment})
	}
	return out
}

// Fetch is what the others get: that there is something to be fetched.
func (Chat) Fetch() json.RawMessage { return chatData(Chat{Refresh: true}) }

func chatData(c Chat) json.RawMessage {
	return Marshal(struct {
		Type string `json:"type"`
		Chat Chat   `json:"chat"`
	}{"chat", c})
}

// TellsName tells whether the data of a client say what it is called now.
func TellsName(data json.RawMessage) bool {
	// A text may be written with escapes.
	may := bytes.Contains(data, []byte("nickChanged")) || bytes.IndexByte(data, '\\') >= 0
	return may && DataType(data) == "nickChanged"
}
