// Package config is the configuration of a node: one strict YAML file, with
// every key overridable from the environment.
//
//	defaults -> file (unknown key: an error that names the nearest one)
//	         -> environment TALKD_SECTION_KEY -> command line -> Validate
//
// Each key has a default that is safe. docs/configuration.md is kept equal to
// this package by a test.
package config

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/talkd/talkd/store"
)

// Files in the data directory that hold the tokens of the admin listener.
const (
	AdminTokenFile = "admin.token"
	ViewTokenFile  = "admin-view.token"
)

// Config is everything an operator can decide. The doc tags are the source of
// docs/configuration.md.
type Config struct {
	Node      Node      `yaml:"node" doc:"this node"`
	HTTP      HTTP      `yaml:"http" doc:"the public listener: web client, signaling, Talk API"`
	Admin     Admin     `yaml:"admin" doc:"the admin listener: health, metrics, cluster"`
	Cluster   Cluster   `yaml:"cluster" doc:"membership and decisions"`
	Media     Media     `yaml:"media" doc:"what clients send and receive"`
	Relay     Relay     `yaml:"relay" doc:"media between nodes"`
	Signaling Signaling `yaml:"signaling" doc:"sessions, rooms and Nextcloud backends"`
	TURN      TURN      `yaml:"turn" doc:"STUN and TURN servers that clients are told of; talkd is none itself"`
	Accounts  Accounts  `yaml:"accounts" doc:"the embedded backend's users"`
	Log       Log       `yaml:"log" doc:"what is written to stderr"`
}

// Node names the node and its place.
type Node struct {
	ID           string        `yaml:"id" doc:"the node's name for its whole life: lower-case letters, digits, hyphens; default: the host name"`
	Data         string        `yaml:"data" doc:"directory of identity, Raft log and database (0700)"`
	Region       string        `yaml:"region" doc:"where the node stands; rooms prefer the region of their first participant"`
	Roles        []string      `yaml:"roles" doc:"what the node does: server (decides, and holds accounts and conversations), signaling (holds the sockets of clients; needs media), media; a node without server joins with a token and keeps neither log nor database"`
	DrainTimeout time.Duration `yaml:"drain_timeout" doc:"how long a node that is told to stop (SIGTERM) may take to send its people and rooms to other nodes; 0: stop at once"`
	Dev          bool          `yaml:"dev" doc:"development: loopback only, short passwords, no throttling of loopback"`
}

// HTTP is the public listener.
type HTTP struct {
	Listen    string `yaml:"listen" doc:"address of the public HTTP listener"`
	PublicURL string `yaml:"public_url" doc:"how browsers reach this node, e.g. https://n1.example.org; default: http://LISTEN"`
	TLSCert   string `yaml:"tls_cert" doc:"PEM certificate chain; empty: plain HTTP behind a reverse proxy"`
	TLSKey    string `yaml:"tls_key" doc:"PEM private key"`

	TrustedProxies []string `yaml:"trusted_proxies" doc:"networks of reverse proxies, e.g. 10.0.0.0/8; only they may say by X-Forwarded-For whom they speak for"`
}

// Admin is the operator's listener.
type Admin struct {
	Listen  string `yaml:"listen" doc:"address of the admin listener; anything but loopback needs TLS"`
	TLSCert string `yaml:"tls_cert" doc:"PEM certificate chain"`
	TLSKey  string `yaml:"tls_key" doc:"PEM private key"`
}

// Cluster is membership: Raft and RPC over TCP, gossip over UDP and TCP.
type Cluster struct {
	Listen          string   `yaml:"listen" doc:"TCP address of Raft and RPC"`
	Advertise       string   `yaml:"advertise" doc:"how other nodes reach it; default: listen"`
	GossipListen    string   `yaml:"gossip_listen" doc:"UDP and TCP address of gossip"`
	GossipAdvertise string   `yaml:"gossip_advertise" doc:"how other nodes reach it; default: gossip_listen"`
	Join            []string `yaml:"join" doc:"cluster addresses of nodes to join; empty: the first node"`
	JoinToken       string   `yaml:"join_token" secret:"true" doc:"the token for the first start; not needed later"`
	JoinTokenFile   string   `yaml:"join_token_file" doc:"file that holds the join token"`
	Voters          int      `yaml:"voters" doc:"how many servers decide, 3 or 5; the others are spares and take the place of those that fail; the same on all nodes"`
	Expect          int      `yaml:"expect" doc:"the first node prints join commands for this many nodes less one"`
}

// Values of media.aes256.
const (
	AES256Prefer  = "prefer"
	AES256Require = "require"
)

// Media is the SFU of this node.
type Media struct {
	Listen            string   `yaml:"listen" doc:"UDP address of all media; ICE-TCP listens on the same port"`
	Advertise         []string `yaml:"advertise" doc:"addresses that clients are told; default: the listen address, or all addresses of the machine"`
	MaxEgress         int      `yaml:"max_egress" doc:"bit/s this node can send; while it sends as much, no room is placed here and nobody is sent here; 0: no limit"`
	MaxVideoBitrate   int      `yaml:"max_video_bitrate" doc:"bit/s of a camera stream; what exceeds it by more than a twentieth is not forwarded"`
	MaxScreenBitrate  int      `yaml:"max_screen_bitrate" doc:"bit/s of a screen stream; what exceeds it by more than a twentieth is not forwarded"`
	Loudest           int      `yaml:"loudest" doc:"voices of a room that are forwarded, those that are the loudest at the moment; 0: all"`
	BlockedCandidates []string `yaml:"blocked_candidates" doc:"networks, e.g. 10.0.0.0/8, of which addresses that clients name (ICE candidates) are not used; clients there are reached if they reach this node"`
	AllowedCandidates []string `yaml:"allowed_candidates" doc:"networks within those of media.blocked_candidates that are used all the same"`
	AES256            string   `yaml:"aes256" doc:"prefer: media is encrypted with AES-256 for every client that has it, with AES-128 for others; require: others cannot connect"`
}

// Relay carries RTP between nodes.
type Relay struct {
	Listen    string `yaml:"listen" doc:"UDP address of the node-to-node relay"`
	Advertise string `yaml:"advertise" doc:"how other nodes reach it; default: listen"`
}

// Signaling is the door for Talk clients.
type Signaling struct {
	Embedded      bool          `yaml:"embedded" doc:"serve the embedded backend: accounts, conversations, the web client"`
	Backends      []Backend     `yaml:"backends" doc:"Nextcloud instances this cluster serves"`
	StatsFrom     []string      `yaml:"stats_from" doc:"networks that may read /api/v1/serverinfo and /api/v1/stats, e.g. 10.0.0.0/8; behind a reverse proxy name that in http.trusted_proxies first"`
	HelloTimeout  time.Duration `yaml:"hello_timeout" doc:"a connection that said no hello by then is closed"`
	ResumeTimeout time.Duration `yaml:"resume_timeout" doc:"how long a cut session may come back"`

	InternalSecret     string `yaml:"internal_secret" secret:"true" doc:"shared secret of internal clients: SIP bridge, recording server; empty: there are none; the same on all nodes"`
	InternalSecretFile string `yaml:"internal_secret_file" doc:"file that holds internal_secret"`

	Federation         bool     `yaml:"federation" doc:"people may enter rooms at the signaling servers of other Nextclouds, and theirs rooms here; the same on all nodes"`
	FederationNetworks []string `yaml:"federation_networks" doc:"networks, e.g. 10.0.0.0/8, where signaling servers of other Nextclouds may be, besides the public Internet: people may enter rooms there"`

	MaxSessions int `yaml:"max_sessions" doc:"sessions on this node; beyond it they are refused, no room is placed here and nobody is sent here"`
}

// Backend is a Nextcloud instance.
type Backend struct {
	URL        string   `yaml:"url" doc:"base URL of the Nextcloud"`
	MoreURLs   []string `yaml:"more_urls" doc:"further base URLs of the same Nextcloud: its people share the rooms, whichever they use, and it is asked at that one"`
	Secret     string   `yaml:"secret" secret:"true" doc:"shared secret, as entered in Nextcloud"`
	SecretFile string   `yaml:"secret_file" doc:"file that holds the secret"`

	MaxSessions      int `yaml:"max_sessions" doc:"sessions of its people in the whole cluster, exact at one node, within a second between nodes; 0: no limit"`
	MaxVideoBitrate  int `yaml:"max_video_bitrate" doc:"bit/s of a camera stream, if less than media.max_video_bitrate; 0: that"`
	MaxScreenBitrate int `yaml:"max_screen_bitrate" doc:"bit/s of a screen stream, if less than media.max_screen_bitrate; 0: that"`
}

// TURN names servers that help clients through firewalls.
type TURN struct {
	Servers    []string      `yaml:"servers" doc:"TURN servers that share one secret, e.g. turn:turn.example.org:3478?transport=udp, turns:turn.example.org:443?transport=tcp; people of the embedded backend get them with credentials, Nextclouds enter theirs themselves"`
	Secret     string        `yaml:"secret" secret:"true" doc:"shared secret of the TURN servers (coturn: static-auth-secret); the same on all nodes"`
	SecretFile string        `yaml:"secret_file" doc:"file that holds turn.secret"`
	APIKey     string        `yaml:"api_key" secret:"true" doc:"who knows it gets credentials at /turn/credentials; empty: nobody does"`
	APIKeyFile string        `yaml:"api_key_file" doc:"file that holds turn.api_key"`
	Lifetime   time.Duration `yaml:"lifetime" doc:"how long credentials are good, 5m to 168h: whoever loses the way in a call after that has to enter it again"`
	STUN       []string      `yaml:"stun" doc:"STUN servers for people of the embedded backend, e.g. stun:turn.example.org:3478; they need none to reach nodes, and a TURN server is one as well"`
}

// Accounts is the embedded backend.
type Accounts struct {
	InitUser     string `yaml:"init_user" secret:"true" doc:"NAME:PASSWORD of a user to create at start, if missing"`
	InitUserFile string `yaml:"init_user_file" doc:"file that holds init_user"`
}

// Log is structured text on stderr.
type Log struct {
	Level  string `yaml:"level" doc:"debug, info, warn or error"`
	Format string `yaml:"format" doc:"text or json"`
}

// Roles a node may have in this version.
var roles = []string{store.RoleServer, store.RoleSignaling, store.RoleMedia}

// Default is a single node on loopback with everything embedded.
func Default() Config {
	return Config{
		Node:  Node{ID: defaultNodeID(), Data: "talkd-data", Roles: slices.Clone(roles), DrainTimeout: 30 * time.Second},
		HTTP:  HTTP{Listen: "127.0.0.1:8080"},
		Admin: Admin{Listen: "127.0.0.1:8081"},
		Cluster: Cluster{
			Listen:       "127.0.0.1:8082",
			Voters:       5,
			GossipListen: "127.0.0.1:8083",
		},
		Media: Media{
			Listen:           "127.0.0.1:8084",
			MaxVideoBitrate:  1_000_000,
			MaxScreenBitrate: 2_000_000,
			Loudest:          5,
			AES256:           AES256Prefer,
		},
		Relay: Relay{Listen: "127.0.0.1:8085"},
		Signaling: Signaling{
			Embedded: true, HelloTimeout: 5 * time.Second, ResumeTimeout: 30 * time.Second, Federation: true, MaxSessions: 50_000,
		},
		TURN: TURN{Lifetime: 24 * time.Hour},
		Log:  Log{Level: "info", Format: "text"},
	}
}

func defaultNodeID() string {
	name, err := os.Hostname()
	if err != nil {
		return "n1"
	}
	name, _, _ = strings.Cut(strings.ToLower(name), ".")
	if _, err := store.ParseNodeID(name); err != nil {
		return "n1"
	}
	return name
}

// Complete fills in what follows from other keys and reads the secret files.
func (c *Config) Complete() error {
	if c.HTTP.PublicURL == "" {
		scheme := "http"
		if c.HTTP.TLSCert != "" {
			scheme = "https"
		}
		c.HTTP.PublicURL = scheme + "://" + c.HTTP.Listen
	}
	c.HTTP.PublicURL = strings.TrimRight(c.HTTP.PublicURL, "/")
	fallback(&c.Cluster.Advertise, c.Cluster.Listen)
	fallback(&c.Cluster.GossipAdvertise, c.Cluster.GossipListen)
	fallback(&c.Relay.Advertise, c.Relay.Listen)
	// A missing token file is no error: the token is needed at the first start
	// only, and may be removed afterwards.
	if err := fromFile(&c.Cluster.JoinToken, c.Cluster.JoinTokenFile); err != nil && !errors.Is(err, os.ErrNotExist) {
		return invalid("cluster.join_token_file: %v", err)
	}
	if err := fromFile(&c.Accounts.InitUser, c.Accounts.InitUserFile); err != nil {
		return invalid("accounts.init_user_file: %v", err)
	}
	if err := fromFile(&c.Signaling.InternalSecret, c.Signaling.InternalSecretFile); err != nil {
		return invalid("signaling.internal_secret_file: %v", err)
	}
	if err := fromFile(&c.TURN.Secret, c.TURN.SecretFile); err != nil {
		return invalid("turn.secret_file: %v", err)
	}
	if err := fromFile(&c.TURN.APIKey, c.TURN.APIKeyFile); err != nil {
		return invalid("turn.api_key_file: %v", err)
	}
	for i := range c.Signaling.Backends {
		b := &c.Signaling.Backends[i]
		if err := fromFile(&b.Secret, b.SecretFile); err != nil {
			return invalid("signaling.backends[%d].secret_file: %v", i, err)
		}
	}
	data, err := filepath.Abs(c.Node.Data)
	if err != nil {
		return invalid("node.data: %v", err)
	}
	c.Node.Data = data
	return nil
}

func fallback(s *string, value string) {
	if *s == "" {
		*s = value
	}
}

func fromFile(s *string, path string) error {
	if *s != "" || path == "" {
		return nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	*s = strings.TrimSpace(string(b))
	return nil
}
