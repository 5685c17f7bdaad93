package config

// Bridge is one `connection` section.
type Bridge struct {
	Name      string
	Addresses []Address
	Topics    []BridgeTopic

	ProtocolVersion string // "mqttv31", "mqttv311" or "mqttv50"
	StartType       string // "automatic", "lazy" or "once"
	ReloadType      string // "lazy" or "immediate"

	KeepAlive      int    // seconds, 5 to 65535
	IdleTimeout    int    // seconds without traffic before a lazy bridge disconnects, at least 1
	Threshold      int    // waiting messages before a lazy bridge connects, at least 1
	MaxPacketSize  int    // bytes; 0 means no limit
	MaxTopicAlias  int    // 0 to 65535
	ReceiveMaximum int    // 1 to 65535; 0 means max_inflight_messages
	SessionExpiry  int    // seconds
	TCPUserTimeout int    // milliseconds; 0 means the system's
	TCPKeepAlive   [3]int // idle, interval, count; zeros mean the system's
	RestartBase    int    // seconds of the first delay, 1 to 3600
	RestartCap     int    // seconds of the longest delay, 0 when it is constant
	RestartStable  int    // seconds a connection lasts that resets the delay

	AttemptUnsubscribe     bool
	OutgoingRetain         bool
	CleanSession           bool
	LocalCleanSession      *bool // nil follows CleanSession
	Notifications          bool
	NotificationsLocalOnly bool
	RoundRobin             bool
	TryPrivate             bool

	NotificationTopic              string // empty for the default
	RemoteClientID, LocalClientID  string
	RemoteUserName, RemotePassword string
	LocalUserName, LocalPassword   string
	BindAddress                    string

	TLS BridgeTLS

	File string // where the section begins
	Line int
}

// BridgeTLS holds the options for encryption of a bridge, as written.
type BridgeTLS struct {
	CAFile, CAPath, CertFile, KeyFile string
	Ciphers, Ciphers13, Version, ALPN string
	PSK, Identity                     string
	Insecure, RequireOCSP, UseOSCerts bool
}

// certificates reports whether the bridge has options about certificates.
func (t *BridgeTLS) certificates() bool {
	return t.CAFile != "" || t.CAPath != "" || t.CertFile != "" || t.KeyFile != ""
}

// Address is one remote broker.
type Address struct {
	Host string
	Port int
}

// BridgeTopic is one topic line of a bridge.
type BridgeTopic struct {
	Pattern      string
	Direction    string // "out", "in" or "both"
	QoS          int
	LocalPrefix  string
	RemotePrefix string
}

// finishBridges makes the checks that need the whole section, and refuses the
// bridges: they are not in this version.
func (p *parser) finishBridges() error {
	ids := make(map[string]bool)
	for _, b := range p.c.Bridges {
		wrong := ""
		switch {
		case len(b.Addresses) == 0:
			wrong = "Error: Invalid bridge configuration: no remote addresses defined."
		case len(b.Topics) == 0:
			wrong = "Error: Invalid bridge configuration: no topics defined."
		case b.TLS.PSK != "" && b.TLS.Identity == "":
			wrong = "Error: Invalid bridge configuration: missing bridge_identity."
		case b.TLS.PSK == "" && b.TLS.Identity != "":
			wrong = "Error: Invalid bridge configuration: missing bridge_psk."
		case b.LocalClientID != "" && ids[b.LocalClientID]:
			wrong = "Error: Bridge local_clientid '" + b.LocalClientID + "' is not unique. Try changing or setting the local_clientid value for one of the bridges."
		}
		if wrong != "" {
			return at(b.File, b.Line, "%s", wrong)
		}
		ids[b.LocalClientID] = true
	}
	if len(p.c.Bridges) > 0 {
		b := p.c.Bridges[0]
		return at(b.File, b.Line, "Error: The bridge '%s' cannot run: bridges are not in this version of midge.", b.Name)
	}
	return nil
}
