package config

import (
	"strconv"
	"time"

	"github.com/midgemq/midge/internal/logging"
	"github.com/midgemq/midge/mqtt"
)

// Config is a whole configuration: command line and files put together.
type Config struct {
	Global

	// Listeners to open, in the order of the file. In local-only mode these
	// are the loopback addresses, one pair for each port.
	Listeners []*Listener

	// LocalOnly: nothing said where to listen, so only this machine may
	// connect, without a user name.
	LocalOnly bool

	// File is the configuration file read last, the one that a reload reads
	// again; empty without one.
	File string

	// Bridges and Plugins as the files name them.
	Bridges []*Bridge
	Plugins []*Plugin

	// TLSKeyLog is the file of --tls-keylog; empty means none.
	TLSKeyLog string
}

// Global holds the options that concern the whole broker.
type Global struct {
	AllowDuplicateMessages bool // false: one copy of a message for overlapping subscriptions of a 3.x client
	CheckRetainSource      bool // a retained message is delivered only while its publisher may write to the topic
	ConnectionMessages     bool // log clients that come and go
	EnableControlAPI       bool // serve $CONTROL/broker/v1
	QueueQoS0Messages      bool // queue QoS 0 messages for sessions that are away, too
	RetainAvailable        bool // retained messages are kept and delivered
	SetTCPNodelay          bool // disable Nagle's algorithm on accepted sockets
	UpgradeOutgoingQoS     bool // deliver with the QoS of the subscription, even above the publication's

	// PerListenerSettings: the options in Security belong to each listener.
	PerListenerSettings bool

	// AllowAnonymous and Security are the values for listeners that have no
	// own ones; Load has copied them there, see Listener.
	AllowAnonymous bool
	Security       Security

	// Login is midge's own addition to Security, for all listeners.
	Login LoginRules

	// ClientIDPrefix is clientid_prefixes, one prefix despite the name; empty
	// admits every client id.
	ClientIDPrefix string

	GlobalMaxClients     int // sessions, connected or not; 0 means no limit
	GlobalMaxConnections int // open sockets over all listeners; 0 means no limit
	MaxInflightBytes     int // QoS 1 and 2 payload bytes in flight per client and direction; 0 means no limit
	MaxInflightMessages  int // QoS 1 and 2 in flight per client and direction, 0 (no limit) to 65534
	MaxKeepAlive         int // seconds, 0 (no limit) to 65535
	MaxPacketSize        int // bytes of an incoming packet, at least 20
	MaxQueuedBytes       int // payload bytes queued per client; 0 means no limit
	MaxQueuedMessages    int // messages queued per client; 0 means no limit
	MemoryLimit          int // bytes of heap at which the broker turns work away; 0 means no limit
	MessageSizeLimit     int // payload bytes of an incoming PUBLISH; 0 means no limit
	PacketBufferSize     int // bytes of a WebSocket upgrade request, 0 to 65535
	SysInterval          int // seconds between updates of $SYS, 0 (never) to 65535

	// PersistentClientExpiration bounds how long an offline session lives; 0
	// means no bound.
	PersistentClientExpiration time.Duration

	// RetainExpiryInterval is the period of the sweep that deletes retained
	// messages whose lifetime is over; 0 means that they go when somebody asks.
	RetainExpiryInterval time.Duration

	Persistence bool // sessions and retained messages survive a restart
	Storage     Storage

	LogTypes           logging.Type
	LogDest            logging.Dest
	LogFile            string
	LogFacility        int    // 1 to 8 for local0 to local7; 0 means daemon
	LogFormat          string // "text" or "json"
	LogTimestamp       bool
	LogTimestampFormat string // strftime; empty means seconds since the epoch

	User    string // whom to become when started as root
	PIDFile string // empty means none

	Guard Guard

	MaxOutputBytes int    // bytes waiting in the output buffer of one connection
	Loops          int    // event loops; 0 means one for each CPU
	ControlSocket  string // path; empty means the default place, "none" no socket
}

// Security holds the options that decide who may do what. They stand once for
// the whole broker, or in each listener with per_listener_settings.
type Security struct {
	PasswordFile string // users and hashes; empty means none
	ACLFile      string // rules on topics; empty means none

	// RefuseEmptyClientID is allow_zero_length_clientid false: a client has to
	// bring its own client id.
	RefuseEmptyClientID bool

	// AutoIDPrefix stands in front of the client ids that the broker makes up,
	// at most 50 bytes.
	AutoIDPrefix string

	anonymous *bool // allow_anonymous as written, nil when it was not
}

// Protocol is what a listener speaks.
type Protocol string

// The protocols a listener can have.
const (
	MQTT       Protocol = "mqtt"
	WebSockets Protocol = "websockets"
	HTTPAPI    Protocol = "http_api"
)

// Listener is one `listener` section, or the implicit one that port and
// bind_address describe.
type Listener struct {
	Port     int    // 1 to 65535; 0 for a Unix socket
	Path     string // of the Unix socket, when Port is 0
	Address  string // host name or address; empty means every IPv4 and IPv6 address
	Protocol Protocol

	SocketDomain  string // "ipv4" or "ipv6" restricts to one family; empty means both
	BindInterface string // name of the network interface to listen on; empty means any

	Versions VersionSet // accept_protocol_versions

	MaxConnections      int       // open sockets of this listener; 0 means no limit
	MaxTopicAlias       int       // aliases a client may set, 0 to 65535
	MaxTopicAliasBroker int       // aliases the broker sets towards a client, 0 to 65535
	MaxQoS              *mqtt.QoS // highest QoS a client may publish with; nil means 2
	Sync                Sync      // listener_persistence_sync; empty means persistence_sync
	MountPoint          string    // text in front of every topic of this listener's clients, without + and #

	// AllowAnonymous is in force for this listener: Load has put together the
	// global value, per_listener_settings and listener_allow_anonymous.
	AllowAnonymous bool
	// AnonymousOwn is listener_allow_anonymous, nil when it was not written.
	AnonymousOwn *bool
	// Security is in force for this listener: its own options with
	// per_listener_settings, otherwise a copy of the global ones. AutoIDPrefix
	// is that of listener_auto_id_prefix if there is one.
	Security Security

	TLS TLS

	UseIdentityAsUsername bool // the certificate's CN becomes the user name
	UseSubjectAsUsername  bool // the certificate's subject becomes the user name
	UseUsernameAsClientID bool // the user name becomes the client id

	ProxyProtocol   int  // version of the PROXY protocol to expect, 1 or 2; 0 means none
	ProxyRequireTLS bool // PROXY version 2: refuse clients that came to the proxy without TLS

	HTTPDir          string   // absolute directory of files to serve, ending in a slash; empty means none
	WebSocketOrigins []string // allowed values of Origin; none means all

	autoIDPrefix string // listener_auto_id_prefix

	Implicit bool   // made by an option outside any section, or for local-only mode
	File     string // where the section begins, for messages; empty in local-only mode
	Line     int
}

// TLS holds the options for encryption of a listener, as written.
type TLS struct {
	CertFile, KeyFile           string // PEM; both or none. TLS is on when they are set
	CAFile, CAPath, CRLFile     string // for client certificates
	Ciphers                     string // cipher list for TLS 1.2 and older; empty means the default
	Ciphers13                   string // ciphersuites for TLS 1.3; empty means the default
	Version                     string // "tlsv1.1", "tlsv1.2" or "tlsv1.3", the lowest admitted; empty means 1.2
	RequireCertificate          bool   // a client without a valid certificate is refused
	DisableClientCertDateChecks bool   // expired and not yet valid client certificates pass
}

// On reports whether the listener speaks TLS.
func (t *TLS) On() bool { return t.CertFile != "" }

// Name says which listener it is, as a listener line would.
func (l *Listener) Name() string {
	switch {
	case l.Path != "":
		return "0 " + l.Path
	case l.Address == "":
		return strconv.Itoa(l.Port)
	}
	return strconv.Itoa(l.Port) + " " + l.Address
}

// VersionSet is a set of protocol levels 3, 4 and 5.
type VersionSet uint8

// AllVersions admits MQTT 3.1, 3.1.1 and 5.0.
const AllVersions VersionSet = 1<<3 | 1<<4 | 1<<5

// Has reports whether the set holds the protocol level.
func (s VersionSet) Has(level byte) bool { return level < 8 && s&(1<<level) != 0 }

// Logging translates the log_ options for the logger.
func (g *Global) Logging() logging.Options {
	return logging.Options{
		Types:           g.LogTypes,
		Dest:            g.LogDest,
		File:            g.LogFile,
		Facility:        g.LogFacility - 1,
		JSON:            g.LogFormat == "json",
		Timestamp:       g.LogTimestamp,
		TimestampFormat: g.LogTimestampFormat,
		HideConnections: !g.ConnectionMessages,
	}
}
