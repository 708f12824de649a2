package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
)

// maxKeyDepth is down to where keys decide what is done: a message, its body, the data,
// their payload. Below that they are the business of the clients alone.
const maxKeyDepth = 4

// checkKeys refuses a message in which somebody else could read something else than
// this node: an object with a key twice, of which decoders take the first or the last,
// or with keys that differ in case, which some decoders, Go's among them, take for one.
// What is checked here and handed on as it came then means the same to those who get it.
//
// It passes over what is not JSON, which the decoder finds.
func checkKeys(b []byte) error {
	var open [maxKeyDepth]object // those around the place that is read
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '{', '[':
			if depth < maxKeyDepth {
				open[depth].begin(b[i] == '{')
			}
			depth++
		case '}', ']':
			depth = max(0, depth-1)
		case ',':
			if at := depth - 1; at >= 0 && at < maxKeyDepth {
				open[at].key = open[at].is
			}
		case '"':
			end := endOfText(b, i)
			if at := depth - 1; at >= 0 && at < maxKeyDepth && open[at].key {
				open[at].key = false
				if !open[at].add(keyText(b[i:end])) {
					return fmt.Errorf("%w: a key twice in one object", ErrFormat)
				}
			}
			i = end - 1
		}
	}
	return nil
}

// object is one whose keys are compared; an array has none.
type object struct {
	is, key bool // key: the next text is one
	n       int
	few     [fewKeys][]byte
	many    map[string]struct{} // folded; once there are more than fewKeys
}

const fewKeys = 16

func (o *object) begin(is bool) {
	o.is, o.key, o.n, o.many = is, is, 0, nil
}

// add is false if the object has the key already.
func (o *object) add(key []byte) bool {
	if o.many == nil && o.n < fewKeys {
		for _, k := range o.few[:o.n] {
			if bytes.EqualFold(k, key) {
				return false
			}
		}
		o.few[o.n] = key
		o.n++
		return true
	}
	if o.many == nil {
		o.many = make(map[string]struct{})
		for _, k := range o.few {
			o.many[fold(k)] = struct{}{}
		}
	}
	f := fold(key)
	_, there := o.many[f]
	o.many[f] = struct{}{}
	return !there
}

// fold writes texts alike that bytes.EqualFold takes for one.
func fold(s []byte) string {
	return strings.Map(func(r rune) rune {
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		return least
	}, string(s))
}

// endOfText is behind the text that begins at i.
func endOfText(b []byte, i int) int {
	for i++; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(b)
}

// keyText is what a key says.
func keyText(quoted []byte) []byte {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return bytes.Trim(quoted, `"`)
	}
	var s string
	if json.Unmarshal(quoted, &s) != nil {
		return quoted // no JSON, which the decoder finds
	}
	return []byte(s)
}
