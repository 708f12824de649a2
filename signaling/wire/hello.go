package wire

import (
	"encoding/json"
	"fmt"

	"github.com/talkd/talkd/store"
)

// Versions of the protocol: they differ in how a client proves who it is.
const (
	Version  = "1.0" // params for the backend
	Version2 = "2.0" // a token that the backend has signed
)

// Features a client may list in its hello.
const (
	// ClientRedirect: the client follows CodeRedirect to another node.
	ClientRedirect = "redirect"
	// ClientResumeMedia: the client publishes anew when a resumed session has
	// lost its media.
	ClientResumeMedia = "resume-media"
	// ClientShed: the client wants to know when video is left out because its node
	// is overloaded.
	ClientShed = "shed"
	// ClientMove: the client goes on at another node without a gap when it is
	// asked to.
	ClientMove = "move"
	// ClientChatRelay: the client takes comments of the chat as they are written.
	ClientChatRelay = "chat-relay"
	// ClientInternalInCall: the (internal) client sets the flags of itself and of its
	// virtual sessions, which are none until then.
	ClientInternalInCall = "internal-incall"
	// ClientStartDialout: the (internal) client makes calls when it is asked to.
	ClientStartDialout = "start-dialout"
)

// Features a server may list in its welcome.
const (
	FeatureAudioVideoPermissions = "audio-video-permissions"
	FeatureChatRelay             = "chat-relay"
	FeatureDialout               = "dialout"
	FeatureFederation            = "federation"
	FeatureHelloV2               = "hello-v2"
	FeatureInCallAll             = "incall-all"
	FeatureJoinFeatures          = "join-features"
	FeatureMCU                   = "mcu"
	FeatureMove                  = "move"
	FeatureOfferCodecs           = "offer-codecs"
	FeatureRecipientCall         = "recipient-call"
	FeaturePing                  = "ping"
	FeatureRedirect              = "redirect"
	FeatureResumeMedia           = "resume-media"
	FeatureServerInfo            = "serverinfo"
	FeatureSimulcast             = "simulcast"
	FeatureSwitchTo              = "switchto"
	FeatureTransientData         = "transient-data"
	FeatureTransientSessionData  = "transient-sessiondata"
	FeatureUpdateSDP             = "update-sdp"
	FeatureVirtualSessions       = "virtual-sessions" // for internal clients only
	FeatureWelcome               = "welcome"
)

// Kinds of clients, by the type of their authentication.
const (
	AuthClient   = "client"
	AuthTicket   = "ticket"
	AuthInternal = "internal"
	AuthProbe    = "probe"
	// AuthFederation: another signaling server, on behalf of one of its clients.
	AuthFederation = "federation"
)

// Hello is the first message of a client. It has a ResumeID or an Auth.
type Hello struct {
	Version  string   `json:"version"`
	ResumeID string   `json:"resumeid,omitempty"`
	Features []string `json:"features,omitempty"`
	Auth     *Auth    `json:"auth,omitempty"`
}

// Auth is how a client proves who it is. Params are for the backend and pass
// through as they came; those of a ticket, an internal client or a hello 2.0 are
// read with Ticket, Internal and Token.
type Auth struct {
	Type   string          `json:"type,omitempty"`
	URL    string          `json:"url,omitempty"`
	Params json.RawMessage `json:"params"`
}

// Kind is the type with the default filled in.
func (a *Auth) Kind() string {
	if a.Type == "" {
		return AuthClient
	}
	return a.Type
}

// Ticket reads the params of a client that was redirected here, or of a probe.
func (a *Auth) Ticket() (string, error) {
	var p struct {
		Ticket string `json:"ticket"`
	}
	if err := json.Unmarshal(a.Params, &p); err != nil {
		return "", fmt.Errorf("%w: params of a ticket", ErrFormat)
	}
	if err := checkText("ticket", p.Ticket, 1, maxToken); err != nil {
		return "", err
	}
	return p.Ticket, nil
}

// Token reads the params of a client that says hello 2.0.
func (a *Auth) Token() (string, error) {
	var p struct {
		Token string `json:"token"`
	}
	if err := json.Unmarshal(a.Params, &p); err != nil {
		return "", fmt.Errorf("%w: params with a token", ErrFormat)
	}
	return p.Token, checkText("token", p.Token, 1, maxToken)
}

// InternalAuth proves an internal client: Token is the hex HMAC-SHA256 of
// Random under the secret it shares with the servers.
type InternalAuth struct {
	Random  string `json:"random"`
	Token   string `json:"token"`
	Backend string `json:"backend"`
}

// minRandom is what the protocol document asks of the random of an internal
// client.
const minRandom = 32

// Internal reads the params of an internal client.
func (a *Auth) Internal() (InternalAuth, error) {
	var p InternalAuth
	if err := json.Unmarshal(a.Params, &p); err != nil {
		return p, fmt.Errorf("%w: params of an internal client", ErrFormat)
	}
	if err := checkText("random", p.Random, minRandom, maxToken); err != nil {
		return p, err
	}
	if err := checkText("token", p.Token, 1, maxToken); err != nil {
		return p, err
	}
	return p, checkText("backend", p.Backend, 0, maxURL)
}

func (h *Hello) validate() error {
	if h.Version != Version && h.Version != Version2 {
		return fmt.Errorf("%w: %.16q", ErrHelloVersion, h.Version)
	}
	if len(h.Features) > maxFeatures {
		return fmt.Errorf("%w: more than %d features", ErrFormat, maxFeatures)
	}
	for _, f := range h.Features {
		if err := checkText("feature", f, 1, maxFeature); err != nil {
			return err
		}
	}
	if h.ResumeID != "" {
		return checkText("resumeid", h.ResumeID, 1, maxToken)
	}
	if h.Auth == nil {
		return fmt.Errorf("%w: hello without auth or resumeid", ErrFormat)
	}
	if err := h.Auth.validate(); err != nil {
		return err
	}
	switch kind := h.Auth.Kind(); {
	case kind == AuthFederation && h.Version != Version2:
		return fmt.Errorf("%w: federation needs %s", ErrHelloVersion, Version2)
	case kind == AuthFederation, kind == AuthClient && h.Version == Version2:
		_, err := h.Auth.Token()
		return err
	}
	return nil
}

func (a *Auth) validate() error {
	if !isObject(a.Params) {
		return fmt.Errorf("%w: auth without params", ErrFormat)
	}
	switch a.Kind() {
	case AuthClient, AuthFederation:
		return checkText("auth url", a.URL, 1, maxURL)
	case AuthTicket, AuthProbe:
		_, err := a.Ticket()
		return err
	case AuthInternal:
		_, err := a.Internal()
		return err
	default:
		return fmt.Errorf("%w: %.32q", ErrClientType, a.Type)
	}
}

// ServerInfo is the welcome of a node, and the part of its hello that says the
// same. Clients replace the first by the second: both must be complete.
type ServerInfo struct {
	Version  string    `json:"version"`
	Features []string  `json:"features,omitempty"`
	Nodes    []NodeRef `json:"nodes,omitempty"`
	// Node is the one that speaks.
	Node store.NodeID `json:"node,omitempty"`
}

// NodeRef names a node that a client may turn to when its own is gone.
type NodeRef struct {
	ID  store.NodeID `json:"id"`
	URL string       `json:"url"`
}

// HelloReply tells a client who it is now.
type HelloReply struct {
	Version   string          `json:"version"`
	SessionID store.SessionID `json:"sessionid"`
	ResumeID  string          `json:"resumeid"`
	UserID    string          `json:"userid"`
	// Moving says that the session still lives at the node that the ticket is
	// from, until the client says that its move is done.
	Moving bool        `json:"moving,omitempty"`
	Server *ServerInfo `json:"server,omitempty"`
	// Resumed is set if the client asked for its session of before.
	Resumed *Resumed `json:"resumed,omitempty"`
}

// Resumed says what is left of a session that is taken up again.
type Resumed struct {
	// Media: all is as it was. Otherwise the client publishes and requests
	// anew.
	Media bool `json:"media"`
	// Room is where a session without its media is already. The join event that
	// comes next names everybody who is there.
	Room string `json:"room,omitempty"`
}
