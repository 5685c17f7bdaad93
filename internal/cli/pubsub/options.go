package pubsub

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/midgemq/midge/mqtt"
)

// source is where pub and rr take their messages from.
type source uint8

const (
	fromNowhere source = iota
	fromArgument
	fromFile
	fromLines // of stdin
	fromStdin // the whole of it
	fromNull
)

// options are the parsed flags.
type options struct {
	warnings []string // what parse found that needs no end

	host, bind string
	port       int // -1: not given
	unix       string
	ws         bool
	srv        bool
	noDelay    bool
	proxy      string // URL as package client wants it
	tls        tlsOptions

	clientID      string
	idPrefix      string
	user          *string
	password      *string
	version       mqtt.Version
	keepAlive     uint16
	persistent    bool // -c
	sessionExpiry *uint32
	inflight      int
	props         properties

	will        bool // a topic was given
	willTopic   string
	willPayload *string
	willQoS     mqtt.QoS
	willRetain  bool

	topics []string
	qos    mqtt.QoS
	debug  bool
	quiet  bool
	json   bool

	// pub and rr
	source        source
	message       string // text, or path of the file
	retain        bool
	repeat        int
	delay         time.Duration
	responseTopic string
	latency       bool

	// sub and rr
	noNewline         bool
	noRetained        bool
	retainAsPublished bool
	retainHandling    byte
	verbose           bool
	pretty            bool
	format            []piece // nil: none
	timeout           time.Duration

	// sub
	count          int // -C; 0 means no end
	filterOut      []string
	unsubscribe    []string
	exitAfter      bool // -E
	retainedOnly   bool
	removeRetained bool
	watch          bool
	messageRate    bool
	randomFilter   int // of 10,000
}

func qosOf(n int) mqtt.QoS { return mqtt.QoS(n) }

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

func mark(p func(o *options) *bool) func(*options, []string) error {
	return func(o *options, _ []string) error { *p(o) = true; return nil }
}

func one(set func(o *options, v string) error) func(*options, []string) error {
	return func(o *options, v []string) error { return set(o, v[0]) }
}

func text(p func(o *options) *string) func(*options, []string) error {
	return one(func(o *options, v string) error { *p(o) = v; return nil })
}

func optional(p func(o *options) **string) func(*options, []string) error {
	return one(func(o *options, v string) error { *p(o) = &v; return nil })
}

// atoi reads the digits that v begins with, as the tools always did.
func atoi(v string) int {
	v = strings.TrimLeft(v, " \t")
	end := 0
	for end < len(v) && (v[end] >= '0' && v[end] <= '9' || end == 0 && (v[end] == '-' || v[end] == '+')) {
		end++
	}
	n, err := strconv.Atoi(v[:end])
	if err != nil {
		return 0
	}
	return n
}

// number reads a number between lo and hi; wrong is the message, which may have a verb for the number.
func number(lo, hi int, wrong string, set func(o *options, n int)) func(*options, []string) error {
	return one(func(o *options, v string) error {
		n := atoi(v)
		if n < lo || n > hi {
			if strings.Contains(wrong, "%") {
				return usagef(wrong, n)
			}
			return usagef("%s", wrong)
		}
		set(o, n)
		return nil
	})
}

func from(s source) func(*options, []string) error {
	return func(o *options, v []string) error {
		if o.source != fromNowhere {
			return usagef("Only one type of message can be sent at once.")
		}
		o.source = s
		if len(v) > 0 {
			o.message = v[0]
		}
		return nil
	}
}

func addTopic(o *options, v string) error {
	o.topics = append(o.topics, v)
	return nil
}

func setID(o *options, v string) error {
	if o.idPrefix != "" {
		return usagef("-i and -I argument cannot be used together.")
	}
	o.clientID = v
	return nil
}

func setIDPrefix(o *options, v string) error {
	if o.clientID != "" {
		return usagef("-i and -I argument cannot be used together.")
	}
	o.idPrefix = v
	return nil
}

func setVersion(o *options, v string) error {
	versions := map[string]mqtt.Version{
		"31": mqtt.V31, "mqttv31": mqtt.V31, "311": mqtt.V311, "mqttv311": mqtt.V311, "5": mqtt.V5, "mqttv5": mqtt.V5,
	}
	version, ok := versions[v]
	if !ok {
		return usagef("Invalid protocol version argument given.")
	}
	o.version = version
	return nil
}

// setSessionExpiry reads -x in C's notation; -1 and the sign of infinity mean no end.
func setSessionExpiry(o *options, v string) error {
	n, err := strconv.ParseInt(strings.TrimSpace(v), 0, 64)
	switch {
	case v == "∞":
		n = mqtt.NeverExpires
	case err != nil:
		return usagef("session-expiry-interval not a number.")
	case n == -1:
		n = mqtt.NeverExpires
	case n < 0 || n > mqtt.NeverExpires:
		return usagef("session-expiry-interval out of range.")
	}
	expiry := uint32(n)
	o.sessionExpiry, o.version = &expiry, mqtt.V5
	return nil
}

func setWillTopic(o *options, v string) error {
	if err := mqtt.CheckTopicName(v); err != nil {
		return usagef("Invalid will topic '%s', does it contain '+' or '#'?", v)
	}
	o.will, o.willTopic = true, v
	return nil
}

func setFilterOut(o *options, v string) error {
	if err := mqtt.CheckFilter(v); err != nil {
		return usagef("Invalid filter topic '%s', are all '+' and '#' wildcards correct?", v)
	}
	o.filterOut = append(o.filterOut, v)
	return nil
}

func setUnsubscribe(o *options, v string) error {
	if err := mqtt.CheckFilter(v); err != nil {
		return usagef("Invalid unsubscribe topic '%s', are all '+' and '#' wildcards correct?", v)
	}
	o.unsubscribe = append(o.unsubscribe, v)
	return nil
}

func setDelay(o *options, v string) error {
	delay, err := strconv.ParseFloat(v, 64)
	if err != nil || !(delay >= 0 && delay < 1e9) {
		return usagef("--repeat-delay argument must be >=0.0.")
	}
	o.delay = time.Duration(delay * float64(time.Second))
	return nil
}

func setRetainHandling(o *options, v string) error {
	switch v {
	case "always":
		o.retainHandling = 0
	case "new":
		o.retainHandling = 1
	case "never":
		o.retainHandling = 2
	default:
		return usagef("Unknown value '%s' for --retain-handling.", v)
	}
	return nil
}

// setRandomFilter takes percents; the range is the one that Mosquitto names in its message.
func setRandomFilter(o *options, v string) error {
	percent, err := strconv.ParseFloat(v, 64)
	if err != nil || !(percent >= 0.1 && percent <= 100) {
		return usagef("--random-filter chance must be between 0.1-100.0")
	}
	o.randomFilter = int(percent*100 + 0.5)
	return nil
}

// setURL reads mqtt://[user[:password]@]host[:port]/topic. Nothing in it is percent-encoded.
func setURL(o *options, v string) error {
	scheme, rest, ok := strings.Cut(v, "://")
	port := 1883
	switch scheme = strings.ToLower(scheme); {
	case ok && scheme == "mqtt":
	case ok && scheme == "mqtts":
		port, o.tls.osCerts = 8883, true
	case ok && scheme == "ws":
		o.ws = true
	case ok && scheme == "wss":
		port, o.ws, o.tls.osCerts = 8883, true, true
	default:
		return usagef("Unsupported URL scheme.")
	}
	host, topic, ok := strings.Cut(rest, "/")
	if !ok || topic == "" {
		return usagef("Invalid URL for -L argument specified - topic missing.")
	}
	if login, at, ok := strings.Cut(host, "@"); ok {
		host = at
		user, password, ok := strings.Cut(login, ":")
		o.user = &user
		if ok {
			o.password = &password
		}
	}
	name, digits, ok := strings.Cut(host, ":")
	o.host, o.port = name, port
	if ok {
		if o.port = atoi(digits); o.port < 1 || o.port > 65535 {
			return usagef("Invalid port given: %d", o.port)
		}
	}
	o.topics = append(o.topics, topic)
	return nil
}

// setProxy reads socks5h://[user[:password]@]host[:port]. Of escapes %25 and %3A are known; %40 gives an at sign, not a colon as
// with Mosquitto.
func setProxy(o *options, v string) error {
	rest, ok := strings.CutPrefix(v, "socks5h://")
	if !ok {
		return usagef("Unsupported proxy protocol: %s", v)
	}
	var login string
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		login, rest = rest[:at], rest[at+1:]
	}
	host, port, hasPort := rest, "1080", false
	if strings.HasPrefix(rest, "[") {
		end := strings.IndexByte(rest, ']')
		if end < 0 {
			return usagef("Invalid proxy.")
		}
		host, rest = rest[1:end], rest[end+1:]
		if rest != "" && rest[0] != ':' {
			return usagef("Invalid proxy.")
		}
		if rest != "" {
			port, hasPort = rest[1:], true
		}
	} else if name, digits, ok := strings.Cut(rest, ":"); ok {
		host, port, hasPort = name, digits, true
	}
	if host == "" || strings.ContainsAny(host, "/?#[]% ") {
		return usagef("Invalid proxy.")
	}
	if n, err := strconv.Atoi(port); hasPort && (err != nil || n < 1 || n > 65535) {
		return usagef("Invalid proxy port %d", atoi(port))
	}
	return o.proxyURL(login, host, port)
}

// versionName is the version as messages name it.
func versionName(v mqtt.Version) string { return fmt.Sprintf("MQTT v%s", v) }
