package config

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// brokerOptions concern the whole broker.
var brokerOptions = []Option{
	{
		Name: "allow_duplicate_messages", Section: "global", Values: boolValues, Default: "true", Reload: AtOnce,
		Hint:    "The behaviour will default to true.",
		Meaning: "Whether a 3.1 or 3.1.1 client with overlapping subscriptions gets one copy for each. MQTT 5 clients always do.",
		field:   boolField{at: func(t target) *bool { return &t.g.AllowDuplicateMessages }},
	},
	{
		Name: "check_retain_source", Section: "global", Values: boolValues, Default: "true", Reload: AtOnce,
		Meaning: "Whether a retained message reaches a new subscriber only while the client that published it may still write to the topic.",
		field:   boolField{at: func(t target) *bool { return &t.g.CheckRetainSource }},
	},
	{
		Name: "clientid_prefixes", Section: "global", Values: "text", Reload: NextConnection,
		Hint:    "Please use access control instead.",
		Meaning: "Only clients whose id begins with this text may connect. It is one prefix, despite the name. A second line replaces the first.",
		field:   textField{at: func(t target) *string { return &t.g.ClientIDPrefix }, replace: true},
	},
	{
		Name: "control_socket", Section: "global", Own: true, Values: "path, or `none`",
		Meaning: "Unix socket through which `midge status` and the other tools reach the broker. Without the option: `midge.sock` in `$XDG_RUNTIME_DIR`, or `/run/midge/midge.sock` when there is none.",
		field:   textField{at: func(t target) *string { return &t.g.ControlSocket }},
	},
	{
		Name: "enable_control_api", Section: "global", Values: boolValues, Default: "false", Reload: AtOnce,
		Meaning: "Whether requests on `$CONTROL/broker/v1` are answered, for clients that may write there.",
		field:   boolField{at: func(t target) *bool { return &t.g.EnableControlAPI }},
	},
	{
		Name: "global_max_clients", Section: "global", Values: "number", Default: "-1", Reload: AtOnce,
		Meaning: "Sessions, connected or not; at the limit new client ids are refused, MQTT 5 with 0x89. 0 or less means no limit.",
		field:   intField{at: func(t target) *int { return &t.g.GlobalMaxClients }, check: notNegative},
	},
	{
		Name: "global_max_connections", Section: "global", Values: "number", Default: "-1", Reload: AtOnce,
		Meaning: "Open sockets over all listeners; 0 or less means no limit.",
		field:   intField{at: func(t target) *int { return &t.g.GlobalMaxConnections }, check: notNegative},
	},
	{
		Name: "include_dir", Section: "global", Values: "directory", Reload: AtOnce,
		Meaning: "Reads each file there whose name is longer than five characters and ends in `.conf`, in alphabetical order without regard to case. Only in the main file; sections do not reach across files.",
		field:   includeField{},
	},
	{
		Name: "loops", Section: "global", Own: true, Values: "number", Default: "0",
		Meaning: "Event loops that serve the connections; 0 means one for each CPU.",
		field: intField{
			at:    func(t target) *int { return &t.g.Loops },
			check: between(0, 1024, "Error: Invalid 'loops' value (%d)."),
		},
	},
	{
		Name: "max_inflight_bytes", Section: "global", Values: "bytes", Default: "0", Reload: AtOnce,
		Meaning: "QoS 1 and 2 payload bytes in flight for each client and direction, beside `max_inflight_messages`; the message that crosses the limit still goes. 0 means no limit.",
		field:   intField{at: func(t target) *int { return &t.g.MaxInflightBytes }, check: notNegative},
	},
	{
		Name: "max_inflight_messages", Section: "global", Values: "0 to 65535", Default: "20", Reload: NextConnection,
		Meaning: "QoS 1 and 2 messages in flight for each client and direction; 0 and 65535 mean no limit. MQTT 5 clients are told it as Receive Maximum.",
		field: intField{
			at: func(t target) *int { return &t.g.MaxInflightMessages },
			check: func(n int) (int, string) {
				if n > math.MaxUint16 {
					return 0, "Error: 'max_inflight_messages' must be <= 65535."
				}
				if n < 0 || n == math.MaxUint16 {
					return 0, ""
				}
				return n, ""
			},
		},
	},
	{
		Name: "max_keepalive", Section: "global", Values: "seconds, 0 to 65535", Default: "0", Reload: NextConnection,
		Meaning: "Longest keep-alive; 0 means no limit. An MQTT 5 client that asks for more is given this one, an older one is refused.",
		field: intField{
			at:    func(t target) *int { return &t.g.MaxKeepAlive },
			check: between(0, math.MaxUint16, "Error: Invalid 'max_keepalive' value (%d)."),
		},
	},
	{
		Name: "max_output_bytes", Section: "global", Own: true, Values: "bytes, at least 4096", Default: "1048576", Reload: AtOnce,
		Meaning: "Bytes that may wait in the output buffer of one connection. At the limit QoS 0 messages for it are dropped and counted, others stay queued.",
		field: intField{
			at:    func(t target) *int { return &t.g.MaxOutputBytes },
			check: between(4096, math.MaxInt32, "Error: 'max_output_bytes' must be >= 4096."),
		},
	},
	{
		Name: "max_packet_size", Section: "global", Values: "bytes, at least 20", Default: "2000000", Reload: NextConnection,
		Meaning: "Longest packet a client may send; MQTT 5 clients are told it. A longer one ends the connection.",
		field: intField{
			at:    func(t target) *int { return &t.g.MaxPacketSize },
			check: between(20, math.MaxInt32, "Error: 'max_packet_size' must be >= 20."),
		},
	},
	{
		Name: "max_queued_bytes", Section: "global", Values: "bytes", Default: "0", Reload: AtOnce,
		Meaning: "Payload bytes of QoS 1 and 2 messages queued for each client; 0 means no limit.",
		field:   intField{at: func(t target) *int { return &t.g.MaxQueuedBytes }, check: notNegative},
	},
	{
		Name: "max_queued_messages", Section: "global", Values: "number", Default: "1000", Reload: AtOnce,
		Meaning: "QoS 1 and 2 messages queued for each client; 0 means no limit.",
		field:   intField{at: func(t target) *int { return &t.g.MaxQueuedMessages }, check: notNegative},
	},
	{
		Name: "memory_limit", Section: "global", Values: "bytes", Default: "0", Reload: AtOnce,
		Meaning: "Bytes of live memory at which clients without a session are refused, MQTT 5 with 0x89, new subscriptions with 0x97 (3.1.1: 0x80), and nothing more is queued: it is dropped and counted, or refused by `queue_policy`. Nor is more retained: MQTT 5 is told 0x97; of 3.x and QoS 0 the message is passed on, what was retained before stays, and it is counted as dropped. Garbage comes on top: give the process about twice as much. 0 means no limit.",
		field:   memoryField{},
	},
	{
		Name: "message_size_limit", Section: "global", Values: "bytes, 0 to 268435455", Default: "0", Reload: AtOnce,
		Meaning: "Longest payload that is accepted; a message above it is acknowledged, with 0x97 for MQTT 5, and dropped. 0 means no limit. Prefer `max_packet_size`.",
		field:   sizeLimitField{},
	},
	{
		Name: "packet_buffer_size", Section: "global", Values: "bytes, 0 to 65535", Default: "4096",
		Meaning: "Longest WebSocket upgrade request, headers included. Reading needs no buffer for each client here.",
		field:   bufferField("Error: Packet buffer size must be between 0 and 65535 inclusive."),
	},
	{
		Name: "persistent_client_expiration", Section: "global", Reload: AtOnce,
		Values:  "number and `s`, `h`, `d`, `w`, `m` (30 days) or `y` (365 days)",
		Meaning: "How long the session of a client that is away lives at most; without the option there is no bound but the client's own.",
		field:   expirationField{},
	},
	{
		Name: "pid_file", Section: "global", Values: "path",
		Meaning: "File for the process id, removed at the end.",
		field:   textField{at: func(t target) *string { return &t.g.PIDFile }},
	},
	{
		Name: "queue_qos0_messages", Section: "global", Values: boolValues, Default: "false", Reload: AtOnce,
		Meaning: "Whether QoS 0 messages, too, are queued for sessions whose client is away.",
		field:   boolField{at: func(t target) *bool { return &t.g.QueueQoS0Messages }},
	},
	{
		Name: "retain_available", Section: "global", Values: boolValues, Default: "true", Reload: AtOnce,
		Meaning: "Whether messages can be retained. When not, a client that asks for it is disconnected.",
		field:   boolField{at: func(t target) *bool { return &t.g.RetainAvailable }},
	},
	{
		Name: "retain_expiry_interval", Section: "global", Values: "minutes, 1 to 10000000", Reload: AtOnce,
		Meaning: "At the latest so often are retained messages deleted whose Message Expiry Interval is over. midge deletes each when it is over, with and without the option.",
		field:   retainExpiryField{},
	},
	{
		Name: "retry_interval", Section: "none", Values: "number",
		Meaning: "Obsolete: read, warned about, without effect.",
		gone:    "Warning: The '%s' option is no longer available.",
	},
	{
		Name: "set_tcp_nodelay", Section: "global", Values: boolValues, Default: "true", Reload: NextConnection,
		Meaning: "Whether Nagle's algorithm is off on accepted sockets. midge writes once for all that is ready, so the algorithm has nothing to gather: it would only hold a packet back until the client has acknowledged the one before, up to 40 ms.",
		field:   boolField{at: func(t target) *bool { return &t.g.SetTCPNodelay }},
	},
	{
		Name: "sys_interval", Section: "global", Values: "seconds, 0 to 65535", Default: "10", Reload: AtOnce,
		Meaning: "Time between updates of `$SYS`; 0 switches the tree off.",
		field: intField{
			at:    func(t target) *int { return &t.g.SysInterval },
			check: between(0, math.MaxUint16, "Error: Invalid 'sys_interval' value (%d)."),
		},
	},
	{
		Name: "upgrade_outgoing_qos", Section: "global", Values: boolValues, Default: "false", Reload: AtOnce,
		Meaning: "Whether a message is delivered with the QoS of the subscription even where it was published with a lower one. The standard does not provide for it.",
		field:   boolField{at: func(t target) *bool { return &t.g.UpgradeOutgoingQoS }},
	},
	{
		Name: "user", Section: "global", Values: "user name", Default: "mosquitto",
		Meaning: "Whom the broker becomes when root starts it. If `mosquitto` does not exist, `nobody`; `root` keeps the rights, with a warning. A second line replaces the first; `PUID` and `PGID` in the environment win.",
		field:   textField{at: func(t target) *string { return &t.g.User }, replace: true},
	},
	{
		Name: "websockets_headers_size", Section: "global", Values: "bytes, 0 to 65535",
		Meaning: "Same as `packet_buffer_size`.",
		field:   bufferField("Error: Websockets headers size must be between 0 and 65535 inclusive."),
	},
	{
		Name: "websockets_log_level", Section: "none", Values: "number",
		Meaning: "Concerns a library that midge does not use: read, warned about, without effect. `log_type websockets` switches the lines on.",
		gone:    "Warning: The '%s' option has no effect, as libwebsockets is not used. 'log_type websockets' switches the lines about WebSockets on.",
	},
}

func bufferField(wrong string) field {
	return intField{at: func(t target) *int { return &t.g.PacketBufferSize }, check: between(0, math.MaxUint16, wrong)}
}

// sizeLimitField is message_size_limit, which comes with a recommendation.
type sizeLimitField struct{}

func (sizeLimitField) parse(p *parser, o *Option, rest string) error {
	const maxPayload = 268435455
	p.notice("Note: It is recommended to replace `message_size_limit` with `max_packet_size`.")
	n, err := p.parseInt(o.Name, rest)
	if err != nil {
		return err
	}
	if n < 0 || n > maxPayload {
		// Mosquitto reads the number as unsigned.
		return p.errorf("Error: Invalid '%s' value (%d).", o.Name, uint32(n))
	}
	p.c.MessageSizeLimit = n
	return nil
}

func (sizeLimitField) format(t target) string { return fmt.Sprint(t.g.MessageSizeLimit) }
func (sizeLimitField) carry(to, from target)  { to.g.MessageSizeLimit = from.g.MessageSizeLimit }

// memoryField is memory_limit, the one number of 64 bits.
type memoryField struct{}

func (memoryField) parse(p *parser, o *Option, rest string) error {
	w, err := p.word(o.Name, rest)
	if err != nil {
		return err
	}
	n, wrong := cInt(w, 64)
	switch {
	case wrong != "":
		return p.errorf("Error: '%s' value %s.", o.Name, wrong)
	case n < 0:
		return p.errorf("Error: Invalid '%s' value (%d).", o.Name, n)
	}
	p.c.MemoryLimit = n
	return nil
}

func (memoryField) format(t target) string { return strconv.Itoa(t.g.MemoryLimit) }
func (memoryField) carry(to, from target)  { to.g.MemoryLimit = from.g.MemoryLimit }

// retainExpiryField is retain_expiry_interval.
type retainExpiryField struct{}

func (retainExpiryField) parse(p *parser, o *Option, rest string) error {
	const most = 10000000
	n, err := p.parseInt(o.Name, rest)
	switch {
	case err != nil:
		return err
	case n < 1:
		return p.errorf("Error: Invalid '%s' value (%d).", o.Name, n)
	case n > most:
		p.warning("Warning: The '%s' value %d is too high, using %d.", o.Name, n, most)
		n = most
	}
	p.c.RetainExpiryInterval = time.Duration(n) * time.Minute
	return nil
}

func (retainExpiryField) format(t target) string {
	return strconv.Itoa(int(t.g.RetainExpiryInterval / time.Minute))
}

func (retainExpiryField) carry(to, from target) {
	to.g.RetainExpiryInterval = from.g.RetainExpiryInterval
}

// expirationField is persistent_client_expiration.
type expirationField struct{}

// expirationUnits are the suffixes; a month has 30 days and a year 365.
var expirationUnits = map[byte]time.Duration{
	's': time.Second,
	'h': time.Hour,
	'd': 24 * time.Hour,
	'w': 7 * 24 * time.Hour,
	'm': 30 * 24 * time.Hour,
	'y': 365 * 24 * time.Hour,
}

func (expirationField) parse(p *parser, o *Option, rest string) error {
	w, err := p.word(o.Name, rest)
	if err != nil {
		return err
	}
	unit := expirationUnits[w[len(w)-1]]
	n, err := strconv.ParseInt(w[:len(w)-1], 10, 32)
	if unit == 0 || err != nil || n < 1 || n > int64(1<<63-1)/int64(unit) {
		return p.errorf("Error: Invalid '%s' duration in configuration.", o.Name)
	}
	p.c.PersistentClientExpiration = time.Duration(n) * unit
	return nil
}

func (expirationField) format(t target) string {
	if t.g.PersistentClientExpiration == 0 {
		return ""
	}
	return fmt.Sprintf("%ds", int64(t.g.PersistentClientExpiration/time.Second))
}

func (expirationField) carry(to, from target) {
	to.g.PersistentClientExpiration = from.g.PersistentClientExpiration
}
