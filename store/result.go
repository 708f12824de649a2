package store

import (
	"encoding/json"
	"fmt"
)

// Result is what an applied command says to whoever proposed it.
type Result struct {
	Err   error      // a refusal: nothing changed
	Home  Home       // of assign_home
	Homes []Assigned // of assign_homes, in the order of the command
	ID    int64      // of create_conversation and add_attendee
}

// Code is the refusal as it travels between nodes, "" for none.
func (r Result) Code() string { return errorCode(r.Err) }

type resultWire struct {
	Code  string         `json:"code,omitempty"`
	Home  Home           `json:"home,omitzero"`
	Homes []assignedWire `json:"homes,omitempty"`
	ID    int64          `json:"id,omitempty"`
}

type assignedWire struct {
	Code string `json:"code,omitempty"`
	Home Home   `json:"home,omitzero"`
}

// MarshalJSON writes the result for another node.
func (r Result) MarshalJSON() ([]byte, error) {
	w := resultWire{Code: r.Code(), Home: r.Home, ID: r.ID}
	for _, a := range r.Homes {
		w.Homes = append(w.Homes, assignedWire{Code: errorCode(a.Err), Home: a.Home})
	}
	return json.Marshal(w)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (r *Result) UnmarshalJSON(b []byte) error {
	var w resultWire
	if err := json.Unmarshal(b, &w); err != nil {
		return fmt.Errorf("result: %w", err)
	}
	*r = Result{Err: ErrorFromCode(w.Code), Home: w.Home, ID: w.ID}
	for _, a := range w.Homes {
		r.Homes = append(r.Homes, Assigned{Home: a.Home, Err: ErrorFromCode(a.Code)})
	}
	return nil
}

// Entry is an entry of the log that holds a command.
type Entry struct {
	Index uint64
	Data  []byte // as Command.Encode wrote it
}

// Applied is the effect of one entry.
type Applied struct {
	Index  uint64
	Result Result
	Events []Event
	Change Change // for the nodes that follow
}
