package pubsub

import (
	"sync"

	"github.com/midgemq/midge/internal/cli/flagtable"
)

// spec is one flag with what it sets.
type spec struct {
	tools int
	flag  flagtable.Flag
	set   func(o *options, v []string) error
}

// Headings of help and manual.
const (
	groupServer  = "Broker"
	groupSession = "Session and login"
	groupMessage = "Message"
	groupOutput  = "Output"
	groupTLS     = "TLS"
	groupWill    = "Will"
	groupProgram = "Program"
)

func words(s ...string) []string { return s }

var serverFlags = []spec{
	{inAll, flagtable.Flag{
		Names: words("-h", "--host"), Arg: "HOST", Needs: "no host", Offer: flagtable.Hosts, Help: "host of the broker; default localhost",
	}, text(func(o *options) *string { return &o.host })},
	{inAll, flagtable.Flag{
		Names: words("-p", "--port"), Arg: "PORT", Needs: "no port", Help: "port of the broker; default 1883, with TLS 8883",
	}, number(0, 65535, "Invalid port given: %d", func(o *options, n int) { o.port = n })},
	{inAll, flagtable.Flag{
		Names: words("-L", "--url"), Arg: "URL", Needs: "no URL",
		Help: "mqtt://, mqtts://, ws:// or wss://[user[:password]@]host[:port]/topic instead of -h, -p, -u, -P and -t",
	}, one(setURL)},
	{inAll, flagtable.Flag{
		Names: words("--unix"), Arg: "PATH", Needs: "no socket path", Offer: flagtable.Files, Help: "Unix socket of the broker instead of host and port",
	}, text(func(o *options) *string { return &o.unix })},
	{inAll, flagtable.Flag{Names: words("--ws"), Help: "speak MQTT over WebSocket"}, mark(func(o *options) *bool { return &o.ws })},
	{inAll, flagtable.Flag{
		Names: words("--proxy"), Arg: "URL", Needs: "no proxy url", Help: "SOCKS5 proxy, socks5h://[user[:password]@]host[:port]",
	}, one(setProxy)},
	{inAll, flagtable.Flag{
		Names: words("-A"), Midge: words("--bind"), Arg: "ADDRESS", Needs: "no address", Help: "local address of the connection",
	}, text(func(o *options) *string { return &o.bind })},
	{inAll, flagtable.Flag{Names: words("-S"), Midge: words("--srv"), Help: "find host and port by the SRV record of the domain given as host"}, mark(func(o *options) *bool { return &o.srv })},
	{inAll, flagtable.Flag{Names: words("--nodelay"), Help: "send small packets at once (TCP_NODELAY); midge always does"}, mark(func(o *options) *bool { return &o.noDelay })},
	{inAll, flagtable.Flag{
		Names: words("-V", "--protocol-version"), Arg: "VERSION", Needs: "no version", Values: words("mqttv5", "mqttv311", "mqttv31", "5", "311", "31"),
		Help: "protocol version; default mqttv311 for pub and sub, mqttv5 for rr",
	}, one(setVersion)},
	{inAll, flagtable.Flag{
		Names: words("-k", "--keepalive"), Arg: "SECONDS", Needs: "no keepalive", Help: "keep-alive, 5 to 65535 seconds; default 60",
	}, number(5, 65535, "Invalid keepalive given, it must be between 5 and 65535 inclusive.", func(o *options, n int) { o.keepAlive = uint16(n) })},
}

var sessionFlags = []spec{
	{inAll, flagtable.Flag{Names: words("-i", "--id"), Arg: "ID", Needs: "no id", Help: "client identifier"}, one(setID)},
	{inAll, flagtable.Flag{
		Names: words("-I", "--id-prefix"), Arg: "PREFIX", Needs: "no id prefix", Help: "client identifier that begins so and ends in the process id",
	}, one(setIDPrefix)},
	{inAll, flagtable.Flag{
		Names: words("-c", "--disable-clean-session"), Midge: words("--keep-session"), Help: "keep the session when the program ends; needs -i",
	}, mark(func(o *options) *bool { return &o.persistent })},
	{inAll, flagtable.Flag{
		Names: words("-x"), Midge: words("--session-expiry"), Arg: "SECONDS", Needs: "no session expiry interval",
		Help: "how long the session outlives the connection, -1 without end; MQTT 5",
	}, one(setSessionExpiry)},
	{inAll, flagtable.Flag{Names: words("-u", "--username"), Arg: "NAME", Needs: "no username", Help: "user name"}, optional(func(o *options) **string { return &o.user })},
	{inAll, flagtable.Flag{Names: words("-P", "--pw"), Midge: words("--password"), Arg: "PASSWORD", Needs: "no password", Help: "password; other users can see it in the list of processes, the options file keeps it from them"}, optional(func(o *options) **string { return &o.password })},
	{inAll, flagtable.Flag{
		Names: words("-M"), Midge: words("--max-inflight"), Arg: "COUNT", Needs: "max_inflight not", Help: "QoS 1 and 2 messages sent and not acknowledged, at most; default 20",
	}, number(1, 65535, "Maximum inflight messages must be greater than 0.", func(o *options, n int) { o.inflight = n })},
	{inAll, flagtable.Flag{
		Names: words("-D", "--property"), Arg: "COMMAND NAME VALUE", Repeats: true, Needs: "not enough arguments",
		Values: words("connect", "publish", "subscribe", "unsubscribe", "disconnect", "will"),
		Help:   "property of MQTT 5 for a packet; user-property takes two words, key and value",
		More:   moreOfProperty,
	}, setProperty},
}

var messageFlags = []spec{
	{inSub, flagtable.Flag{
		Names: words("-t", "--topic"), Arg: "FILTER", Needs: "no topic", Repeats: true, Help: "topic filter to subscribe to",
	}, one(addTopic)},
	{inPub | inRR, flagtable.Flag{Names: words("-t", "--topic"), Arg: "TOPIC", Needs: "no topic", Help: "topic to publish on"}, one(addTopic)},
	{inAll, flagtable.Flag{
		Names: words("-q", "--qos"), Arg: "QOS", Needs: "no QoS", Values: words("0", "1", "2"), Help: "quality of service; default 0",
	}, number(0, 2, "Invalid QoS given: %d", func(o *options, n int) { o.qos = qosOf(n) })},
	{inPub | inRR, flagtable.Flag{Names: words("-m", "--message"), Arg: "TEXT", Needs: "no message", Help: "the message"}, from(fromArgument)},
	{inPub | inRR, flagtable.Flag{
		Names: words("-f", "--file"), Arg: "FILE", Needs: "no file", Offer: flagtable.Files, Help: "send the content of a file as the message",
	}, from(fromFile)},
	{inPub | inRR, flagtable.Flag{Names: words("-n", "--null-message"), Help: "send an empty message"}, from(fromNull)},
	{inPub | inRR, flagtable.Flag{Names: words("-s", "--stdin-file"), Help: "send all of standard input as one message"}, from(fromStdin)},
	{inPub, flagtable.Flag{Names: words("-l", "--stdin-line"), Help: "send each line of standard input as a message"}, from(fromLines)},
	{inPub, flagtable.Flag{Names: words("-r", "--retain"), Help: "have the broker retain the message"}, mark(func(o *options) *bool { return &o.retain })},
	{inPub, flagtable.Flag{
		Names: words("--repeat"), Arg: "COUNT", Needs: "no count", Help: "how often to send the message; default 1",
	}, number(1, 1<<31-1, "--repeat argument must be >0.", func(o *options, n int) { o.repeat = n })},
	{inPub, flagtable.Flag{
		Names: words("--repeat-delay"), Arg: "SECONDS", Needs: "no time", Help: "time between repetitions, with fractions; default 0",
	}, one(setDelay)},
	{inRR, flagtable.Flag{
		Names: words("-e"), Midge: words("--response-topic"), Arg: "TOPIC", Needs: "no response topic", Help: "topic on which the response is expected",
	}, text(func(o *options) *string { return &o.responseTopic })},
	{inSub, flagtable.Flag{
		Names: words("-T", "--filter-out"), Arg: "FILTER", Needs: "no topic filter", Repeats: true, Help: "leave out messages on topics that match",
	}, one(setFilterOut)},
	{inSub, flagtable.Flag{
		Names: words("-U", "--unsubscribe"), Arg: "FILTER", Needs: "no unsubscribe topic", Repeats: true, Help: "unsubscribe once connected, as from a kept session",
	}, one(setUnsubscribe)},
	{inSub | inRR, flagtable.Flag{Names: words("-R"), Midge: words("--no-retained"), Help: "leave out retained messages"}, mark(func(o *options) *bool { return &o.noRetained })},
	{inSub, flagtable.Flag{Names: words("--retained-only"), Help: "print retained messages only and end with the first one that is not"}, mark(func(o *options) *bool { return &o.retainedOnly })},
	{inSub, flagtable.Flag{
		Names: words("--remove-retained"), Help: "remove each retained message that comes from the broker",
	}, mark(func(o *options) *bool { return &o.removeRetained })},
	{inSub | inRR, flagtable.Flag{
		Names: words("--retain-as-published"), Help: "have the broker pass the retain mark on as it was published; MQTT 5",
	}, mark(func(o *options) *bool { return &o.retainAsPublished })},
	{inSub | inRR, flagtable.Flag{
		Names: words("--retain-handling"), Arg: "WHEN", Needs: "no option", Values: words("always", "new", "never"), Help: "when the broker sends retained messages; MQTT 5",
	}, one(setRetainHandling)},
}

var outputFlags = []spec{
	{inSub | inRR, flagtable.Flag{Names: words("-v", "--verbose"), Help: "print the topic before the message"}, mark(func(o *options) *bool { return &o.verbose })},
	{inSub | inRR, flagtable.Flag{
		Names: words("-F"), Midge: words("--format"), Arg: "FORMAT", Needs: "no format",
		Help: "print each message in this format: %t topic, %p payload, %x hexadecimal, %l length, %q QoS, %r retain, %m packet identifier, " +
			"%I time, %U seconds since 1970, %j and %J JSON, %A %C %D %E %F %P %R %S properties, %f %d payload as a number, @ with a letter as in strftime, \\n \\t",
	}, one(setFormat)},
	{inSub | inRR, flagtable.Flag{Midge: words("--json"), Help: "print each message as one JSON object, a JSON payload as it is"}, mark(func(o *options) *bool { return &o.json })},
	{inPub, flagtable.Flag{Midge: words("--json"), Help: "print one JSON object for each message that was delivered or refused"}, mark(func(o *options) *bool { return &o.json })},
	{inSub | inRR, flagtable.Flag{Names: words("--pretty"), Help: "break and indent JSON"}, mark(func(o *options) *bool { return &o.pretty })},
	{inSub | inRR, flagtable.Flag{Names: words("-N"), Midge: words("--no-newline"), Help: "no line feed behind a message"}, mark(func(o *options) *bool { return &o.noNewline })},
	{inSub, flagtable.Flag{
		Names: words("-w", "--watch"), Help: "clear the screen and give each topic a line of its own, which shows its latest message",
	}, mark(func(o *options) *bool { return &o.watch })},
	{inSub, flagtable.Flag{Names: words("--message-rate"), Help: "print how many messages come each second instead of the messages"}, mark(func(o *options) *bool { return &o.messageRate })},
	{inSub, flagtable.Flag{
		Names: words("--random-filter"), Arg: "PERCENT", Needs: "no chance", Help: "print a random share of the messages, 0.1 to 100 percent",
	}, one(setRandomFilter)},
	{inRR, flagtable.Flag{Names: words("--latency"), Help: "print the time from request to response"}, mark(func(o *options) *bool { return &o.latency })},
}

var programFlags = []spec{
	{inSub, flagtable.Flag{
		Names: words("-C"), Midge: words("--count"), Arg: "COUNT", Needs: "no count", Help: "end after this many messages",
	}, number(1, 1<<31-1, `Invalid message count "%d".`, func(o *options, n int) { o.count = n })},
	{inSub, flagtable.Flag{Names: words("-E"), Midge: words("--exit-after-subscribe"), Help: "end when the broker has acknowledged the subscriptions"}, mark(func(o *options) *bool { return &o.exitAfter })},
	{inSub | inRR, flagtable.Flag{
		Names: words("-W"), Midge: words("--timeout"), Arg: "SECONDS", Needs: "no timeout", Help: "give up after this time",
	}, number(1, 1<<31-1, `Invalid timeout "%d".`, func(o *options, n int) { o.timeout = seconds(n) })},
	{inAll, flagtable.Flag{Names: words("-d", "--debug"), Help: "print what is sent and received"}, mark(func(o *options) *bool { return &o.debug })},
	{inAll, flagtable.Flag{Names: words("--quiet"), Help: "no error messages, but for those about flags"}, mark(func(o *options) *bool { return &o.quiet })},
	{inAll, flagtable.Flag{
		Names: words("-o"), Midge: words("--options-file"), Arg: "FILE", Needs: "no options file", Offer: flagtable.Files,
		Help: "read flags from this file, one a line, instead of the one in the configuration directory",
	}, one(func(*options, string) error { return nil })}, // parse has read it
	{inAll, flagtable.Flag{Names: words("--help"), Help: "show the help and end"}, func(*options, []string) error { return errHelp }},
	{inAll, flagtable.Flag{Names: words("--version"), Help: "show the version and end"}, func(*options, []string) error { return errVersion }},
}

var willFlags = []spec{
	{inAll, flagtable.Flag{Names: words("--will-topic"), Arg: "TOPIC", Needs: "no will topic", Help: "topic of the will"}, one(setWillTopic)},
	{inAll, flagtable.Flag{Names: words("--will-payload"), Arg: "TEXT", Needs: "no will payload", Help: "message of the will; default empty"}, optional(func(o *options) **string { return &o.willPayload })},
	{inAll, flagtable.Flag{
		Names: words("--will-qos"), Arg: "QOS", Needs: "no will QoS", Values: words("0", "1", "2"), Help: "QoS of the will; default 0",
	}, number(0, 2, "Invalid will QoS %d.", func(o *options, n int) { o.willQoS = qosOf(n) })},
	{inAll, flagtable.Flag{Names: words("--will-retain"), Help: "have the broker retain the will"}, mark(func(o *options) *bool { return &o.willRetain })},
}

// Reasons of flags that cannot work.
const (
	noPSK    = "TLS with pre-shared keys is not possible: Go's TLS library has no cipher suites for it"
	noEngine = "keys in an OpenSSL engine are not possible: midge is not built on OpenSSL"
)

var tlsFlags = []spec{
	{inAll, flagtable.Flag{
		Names: words("--cafile"), Arg: "FILE", Needs: "no file", Offer: flagtable.Files, Help: "certificates of the authorities to trust, PEM; switches TLS on",
	}, text(func(o *options) *string { return &o.tls.caFile })},
	{inAll, flagtable.Flag{
		Names: words("--capath"), Arg: "DIRECTORY", Needs: "no directory", Offer: flagtable.Directories, Help: "directory of such files; switches TLS on",
	}, text(func(o *options) *string { return &o.tls.caPath })},
	{inAll, flagtable.Flag{Names: words("--tls-use-os-certs"), Help: "trust the authorities of the operating system; switches TLS on"}, mark(func(o *options) *bool { return &o.tls.osCerts })},
	{inAll, flagtable.Flag{
		Names: words("--cert"), Arg: "FILE", Needs: "no file", Offer: flagtable.Files, Help: "certificate of the client, PEM",
	}, text(func(o *options) *string { return &o.tls.cert })},
	{inAll, flagtable.Flag{
		Names: words("--key"), Arg: "FILE", Needs: "no file", Offer: flagtable.Files, Help: "private key of the client, PEM",
	}, text(func(o *options) *string { return &o.tls.key })},
	{inAll, flagtable.Flag{
		Names: words("--keyform"), Arg: "FORM", Needs: "no keyform", Values: words("pem"), Help: "form of the key; engine is refused",
	}, text(func(o *options) *string { return &o.tls.keyForm })},
	{inAll, flagtable.Flag{Names: words("--insecure"), Help: "do not check that the certificate is for this host"}, mark(func(o *options) *bool { return &o.tls.insecure })},
	{inAll, flagtable.Flag{
		Names: words("--tls-version"), Arg: "VERSION", Needs: "no version", Values: words("tlsv1.2", "tlsv1.3"), Help: "lowest version of TLS; default tlsv1.2",
	}, text(func(o *options) *string { return &o.tls.version })},
	{inAll, flagtable.Flag{
		Names: words("--ciphers"), Arg: "LIST", Needs: "no ciphers", Help: "cipher suites of TLS 1.2 by OpenSSL's names, separated by colons",
	}, text(func(o *options) *string { return &o.tls.ciphers })},
	{inAll, flagtable.Flag{Names: words("--tls-alpn"), Arg: "PROTOCOL", Needs: "no protocol", Help: "protocol to ask for in the TLS handshake (ALPN)"}, text(func(o *options) *string { return &o.tls.alpn })},
	{inAll, flagtable.Flag{
		Names: words("--tls-keylog"), Arg: "FILE", Needs: "no file", Offer: flagtable.Files, Help: "append the secrets of the connection to a file, for looking into a capture",
	}, text(func(o *options) *string { return &o.tls.keyLog })},
	{inAll, flagtable.Flag{Names: words("--no-tls"), Help: "no TLS, whatever the other flags and the port say"}, mark(func(o *options) *bool { return &o.tls.off })},
	{inAll, flagtable.Flag{Names: words("--psk"), Arg: "KEY", Needs: "no key", Refused: noPSK}, nil},
	{inAll, flagtable.Flag{Names: words("--psk-identity"), Arg: "NAME", Needs: "no identity", Refused: noPSK}, nil},
	{inAll, flagtable.Flag{Names: words("--tls-engine"), Arg: "ENGINE", Needs: "no engine_id", Refused: noEngine}, nil},
	{inAll, flagtable.Flag{Names: words("--tls-engine-kpass-sha1"), Arg: "SHA1", Needs: "no kpass sha1", Refused: noEngine}, nil},
}

var tableOf = sync.OnceValue(func() map[int]*flagtable.Command {
	tables := make(map[int]*flagtable.Command)
	for _, tool := range []int{inPub, inSub, inRR} {
		c := describe(tool)
		for _, g := range groups {
			for _, s := range g.specs {
				if s.tools&tool != 0 {
					f := s.flag
					f.Group = g.name
					c.Flags = append(c.Flags, f)
				}
			}
		}
		tables[tool] = c
	}
	return tables
})

var groups = []struct {
	name  string
	specs []spec
}{
	{groupMessage, messageFlags},
	{groupOutput, outputFlags},
	{groupProgram, programFlags},
	{groupServer, serverFlags},
	{groupSession, sessionFlags},
	{groupTLS, tlsFlags},
	{groupWill, willFlags},
}

// table is the description of a tool.
func table(tool int) *flagtable.Command { return tableOf()[tool] }

// setter finds what a flag of the table sets.
func setter(tool int, key string) func(o *options, v []string) error {
	for _, g := range groups {
		for _, s := range g.specs {
			if s.tools&tool != 0 && s.flag.Key() == key {
				return s.set
			}
		}
	}
	return nil
}
