package api

import (
	"context"
	"net/http"

	"github.com/talkd/talkd/store"
)

// The version of the public API that the answers follow. Clients ask for the
// number; what is really served they find in features.
const (
	apiMajor   = 35
	apiVersion = "35.0.0"
	talkAPI    = "25.0.0"
)

// features are the capabilities of Talk that are served: nothing is listed
// here that a client would ask for in vain.
func features() []string {
	return []string{
		"audio", "video", "conversation-v4", "signaling-v3", "guest-signaling", "guest-display-names",
		"empty-group-room", "multi-room-users", "in-call-flags", "conversation-call-flags", "conversation-permissions",
		"publishing-permissions",
	}
}

type versionData struct {
	Major    int    `json:"major"`
	Minor    int    `json:"minor"`
	Micro    int    `json:"micro"`
	String   string `json:"string"`
	Edition  string `json:"edition"`
	Extended bool   `json:"extendedSupport"`
}

// capabilities tells what is served. Types are those that strict clients
// expect, also of what is not served.
func (s *Server) capabilities(_ context.Context, r *request) (reply, error) {
	type object = map[string]any
	user := r.actor.kind == store.ActorUsers
	config := object{
		"attachments": object{"allowed": false, "conversation-subfolders": false},
		"call": object{
			"enabled": true, "breakout-rooms": false, "recording": false, "recording-consent": 0,
			"supported-reactions": []string{}, "predefined-backgrounds": []string{}, "predefined-backgrounds-v2": []string{},
			"can-upload-background": false, "sip-enabled": false, "sip-dialout-enabled": false, "can-enable-sip": false,
			"start-without-media": false, "max-duration": 0, "end-to-end-encryption": false,
		},
		"chat":          object{"max-length": 0, "read-privacy": 1, "typing-privacy": 1, "has-translation-providers": false},
		"conversations": object{"can-create": user, "force-passwords": false, "description-length": store.MaxDescription},
		"federation":    object{"enabled": false, "incoming-enabled": false, "outgoing-enabled": false, "only-trusted-servers": true},
		"previews":      object{"max-gif-size": 0},
		"signaling":     object{"session-ping-limit": 200},
	}
	return reply{data: object{
		"version": versionData{Major: apiMajor, String: apiVersion},
		"capabilities": object{
			"core": object{"pollinterval": 60},
			"spreed": object{
				"features": features(), "features-local": []string{}, "config": config, "config-local": object{}, "version": talkAPI,
			},
			"theming": object{"name": "talkd"},
		},
	}}, nil
}

// status answers what clients ask first of a server.
func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, struct {
		Installed      bool   `json:"installed"`
		Maintenance    bool   `json:"maintenance"`
		NeedsDbUpgrade bool   `json:"needsDbUpgrade"`
		Version        string `json:"version"`
		VersionString  string `json:"versionstring"`
		Edition        string `json:"edition"`
		ProductName    string `json:"productname"`
		Extended       bool   `json:"extendedSupport"`
	}{true, false, false, apiVersion + ".0", apiVersion, "", "talkd", false})
}
