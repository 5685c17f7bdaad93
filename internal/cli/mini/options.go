// Package mini is `midge pub` and `midge sub` with the flags that people type
// every day, as mosquitto_pub and mosquitto_sub have them: same flags, output
// bytes and exit statuses.
//
// It keeps one plain connection and no store: what was not acknowledged when
// the process ends is lost. Flags of Mosquitto's tools that it does not carry
// out are refused by name. Pub and Sub are called once, from the main goroutine.
package mini

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/midgemq/midge/mqtt"
)

// Env is what the process gives a tool.
type Env struct {
	Program        string // the name in messages
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Version        string
	Compatible     string // release of Mosquitto in the version line
}

// The tools, for the table of flags.
const (
	inPub = 1 << iota
	inSub
	inBoth = inPub | inSub
)

// source is where pub takes its messages from.
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
	host, bind string
	port       int
	unix       string
	clientID   string
	idPrefix   string
	user       *string
	password   *string
	version    mqtt.Version
	keepAlive  uint16
	persistent bool // -c
	qos        mqtt.QoS
	topics     []string
	debug      bool
	quiet      bool
	inflight   int

	will        bool // a topic was given
	willTopic   string
	willPayload *string
	willQoS     mqtt.QoS
	willRetain  bool

	// pub
	source  source
	message string // text, or path of the file
	retain  bool
	repeat  int
	delay   time.Duration

	// sub
	count       int // -C; 0 means no end
	noNewline   bool
	noRetained  bool
	verbose     bool
	filterOut   []string
	timeout     time.Duration
	exitAfter   bool // -E
	help        bool
	showVersion bool
}

// usageError is a fault of the user's with the text that the tools of Mosquitto
// print for it, behind "Error: ".
type usageError string

func (e usageError) Error() string { return "Error: " + string(e) }

func usagef(format string, args ...any) error { return usageError(fmt.Sprintf(format, args...)) }

// option is one flag. needs is what follows "argument given but" when the value
// is missing; a flag without it takes none.
type option struct {
	names []string
	tools int
	needs string
	set   func(o *options, value string) error
}

func flag(p func(o *options) *bool) func(*options, string) error {
	return func(o *options, _ string) error { *p(o) = true; return nil }
}

func text(p func(o *options) *string) func(*options, string) error {
	return func(o *options, v string) error { *p(o) = v; return nil }
}

func optionalText(p func(o *options) **string) func(*options, string) error {
	return func(o *options, v string) error { *p(o) = &v; return nil }
}

// atoi reads the digits that v begins with, as the tools always did.
func atoi(v string) int {
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

// number reads a number between lo and hi; wrong is the message, which may
// have a verb for the number.
func number(lo, hi int, wrong string, set func(o *options, n int)) func(*options, string) error {
	return func(o *options, v string) error {
		n := atoi(v)
		if n < lo || n > hi {
			if strings.Contains(wrong, "%") {
				return usagef(wrong, n)
			}
			return usageError(wrong)
		}
		set(o, n)
		return nil
	}
}

func from(s source) func(*options, string) error {
	return func(o *options, v string) error {
		if o.source != fromNowhere {
			return usageError("Only one type of message can be sent at once.")
		}
		o.source, o.message = s, v
		return nil
	}
}

var flags = []option{
	{[]string{"-A"}, inBoth, "no address", text(func(o *options) *string { return &o.bind })},
	{[]string{"-c", "--disable-clean-session"}, inBoth, "", flag(func(o *options) *bool { return &o.persistent })},
	{[]string{"-d", "--debug"}, inBoth, "", flag(func(o *options) *bool { return &o.debug })},
	{[]string{"-h", "--host"}, inBoth, "no host", text(func(o *options) *string { return &o.host })},
	{[]string{"-i", "--id"}, inBoth, "no id", setID},
	{[]string{"-I", "--id-prefix"}, inBoth, "no id prefix", setIDPrefix},
	{[]string{"-k", "--keepalive"}, inBoth, "no keepalive", number(5, 65535,
		"Invalid keepalive given, it must be between 5 and 65535 inclusive.", func(o *options, n int) { o.keepAlive = uint16(n) })},
	{[]string{"-L", "--url"}, inBoth, "no URL", setURL},
	{[]string{"-M"}, inBoth, "max_inflight not", number(1, 65535, "Maximum inflight messages must be greater than 0.",
		func(o *options, n int) { o.inflight = n })},
	{[]string{"-p", "--port"}, inBoth, "no port", number(0, 65535, "Invalid port given: %d", func(o *options, n int) { o.port = n })},
	{[]string{"-P", "--pw"}, inBoth, "no password", optionalText(func(o *options) **string { return &o.password })},
	{[]string{"-q", "--qos"}, inBoth, "no QoS", number(0, 2, "Invalid QoS given: %d", func(o *options, n int) { o.qos = mqtt.QoS(n) })},
	{[]string{"--quiet"}, inBoth, "", flag(func(o *options) *bool { return &o.quiet })},
	{[]string{"-t", "--topic"}, inBoth, "no topic", func(o *options, v string) error { o.topics = append(o.topics, v); return nil }},
	{[]string{"-u", "--username"}, inBoth, "no username", optionalText(func(o *options) **string { return &o.user })},
	{[]string{"--unix"}, inBoth, "no socket path", text(func(o *options) *string { return &o.unix })},
	{[]string{"-V", "--protocol-version"}, inBoth, "no version", setVersion},
	{[]string{"--will-payload"}, inBoth, "no will payload", optionalText(func(o *options) **string { return &o.willPayload })},
	{[]string{"--will-qos"}, inBoth, "no will QoS", number(0, 2, "Invalid will QoS %d.", func(o *options, n int) { o.willQoS = mqtt.QoS(n) })},
	{[]string{"--will-retain"}, inBoth, "", flag(func(o *options) *bool { return &o.willRetain })},
	{[]string{"--will-topic"}, inBoth, "no will topic", setWillTopic},
	{[]string{"--help"}, inBoth, "", flag(func(o *options) *bool { return &o.help })},
	{[]string{"--version"}, inBoth, "", flag(func(o *options) *bool { return &o.showVersion })},

	{[]string{"-f", "--file"}, inPub, "no file", from(fromFile)},
	{[]string{"-l", "--stdin-line"}, inPub, "", from(fromLines)},
	{[]string{"-m", "--message"}, inPub, "no message", from(fromArgument)},
	{[]string{"-n", "--null-message"}, inPub, "", from(fromNull)},
	{[]string{"-r", "--retain"}, inPub, "", flag(func(o *options) *bool { return &o.retain })},
	{[]string{"--repeat"}, inPub, "no count", number(1, 1<<31-1, "--repeat argument must be >0.", func(o *options, n int) { o.repeat = n })},
	{[]string{"--repeat-delay"}, inPub, "no time", setDelay},
	{[]string{"-s", "--stdin-file"}, inPub, "", from(fromStdin)},

	{[]string{"-C"}, inSub, "no count", number(1, 1<<31-1, `Invalid message count "%d".`, func(o *options, n int) { o.count = n })},
	{[]string{"-E"}, inSub, "", flag(func(o *options) *bool { return &o.exitAfter })},
	{[]string{"-N"}, inSub, "", flag(func(o *options) *bool { return &o.noNewline })},
	{[]string{"-R"}, inSub, "", flag(func(o *options) *bool { return &o.noRetained })},
	{[]string{"-T", "--filter-out"}, inSub, "no topic filter", setFilterOut},
	{[]string{"-v", "--verbose"}, inSub, "", flag(func(o *options) *bool { return &o.verbose })},
	{[]string{"-W"}, inSub, "no timeout", number(1, 1<<31-1, `Invalid timeout "%d".`,
		func(o *options, n int) { o.timeout = time.Duration(n) * time.Second })},
}

// refused are the flags of Mosquitto's tools that this version does not carry
// out; some only one of them has.
var refused = strings.Fields(`--cafile --capath --cert --ciphers --key --keyform --insecure --no-tls --psk --psk-identity
	--tls-alpn --tls-engine --tls-engine-kpass-sha1 --tls-keylog --tls-use-os-certs --tls-version --proxy --ws --nodelay
	-D --property -F -S -U --unsubscribe -w --watch -x --random-filter --remove-retained --retain-as-published
	--retain-handling --retained-only --message-rate --pretty`)

func setID(o *options, v string) error {
	if o.idPrefix != "" {
		return usageError("-i and -I argument cannot be used together.")
	}
	o.clientID = v
	return nil
}

func setIDPrefix(o *options, v string) error {
	if o.clientID != "" {
		return usageError("-i and -I argument cannot be used together.")
	}
	o.idPrefix = v
	return nil
}

func setVersion(o *options, v string) error {
	versions := map[string]mqtt.Version{
		"31": mqtt.V31, "mqttv31": mqtt.V31, "311": mqtt.V311, "mqttv311": mqtt.V311, "5": mqtt.V5, "mqttv5": mqtt.V5,
	}
	var ok bool
	if o.version, ok = versions[v]; !ok {
		return usageError("Invalid protocol version argument given.")
	}
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

func setDelay(o *options, v string) error {
	seconds, err := strconv.ParseFloat(v, 64)
	if err != nil || !(seconds >= 0 && seconds < 1e9) {
		return usageError("--repeat-delay argument must be >=0.0.")
	}
	o.delay = time.Duration(seconds * float64(time.Second))
	return nil
}

// setURL reads mqtt://[user[:password]@]host[:port]/topic. Nothing in it is
// percent-encoded.
func setURL(o *options, v string) error {
	scheme, rest, ok := strings.Cut(v, "://")
	switch strings.ToLower(scheme) {
	case "mqtt":
	case "mqtts", "ws", "wss":
		return usagef("URLs with %s:// are not supported in this version of midge.", strings.ToLower(scheme))
	default:
		ok = false
	}
	if !ok {
		return usageError("Unsupported URL scheme.")
	}
	host, topic, ok := strings.Cut(rest, "/")
	if !ok || topic == "" {
		return usageError("Invalid URL for -L argument specified - topic missing.")
	}
	if login, at, ok := strings.Cut(host, "@"); ok {
		host = at
		user, password, ok := strings.Cut(login, ":")
		o.user = &user
		if ok {
			o.password = &password
		}
	}
	name, port, ok := strings.Cut(host, ":")
	o.host, o.port = name, 1883
	if ok {
		o.port = atoi(port)
		if o.port < 1 || o.port > 65535 {
			return usagef("Invalid port given: %d", o.port)
		}
	}
	o.topics = append(o.topics, topic)
	return nil
}

// parse reads the options file and then the arguments, which win.
func parse(tool int, args []string) (*options, error) {
	o := &options{host: "localhost", port: 1883, version: mqtt.V311, keepAlive: 60, inflight: 20, repeat: 1}
	path, rest, err := optionsFile(tool, args)
	if err != nil {
		return nil, err
	}
	before, err := readOptionsFile(path)
	if err != nil {
		return nil, err
	}
	if err := o.apply(tool, before); err != nil {
		return nil, err
	}
	fromFile := o.topics
	o.topics = nil
	if err := o.apply(tool, rest); err != nil {
		return nil, err
	}
	if o.topics == nil || tool == inSub {
		o.topics = append(fromFile, o.topics...)
	}
	if o.help || o.showVersion {
		return o, nil
	}
	return o, o.check(tool)
}

// apply sets flags from words.
func (o *options) apply(tool int, words []string) error {
	for i := 0; i < len(words); i++ {
		name := words[i]
		at := slices.IndexFunc(flags, func(f option) bool { return f.tools&tool != 0 && slices.Contains(f.names, name) })
		if at < 0 {
			if slices.Contains(refused, name) {
				return usagef("The option '%s' is not supported in this version of midge.", name)
			}
			return usagef("Unknown option '%s'.", name)
		}
		f, value := &flags[at], ""
		if f.needs != "" {
			if i++; i == len(words) {
				return usagef("%s argument given but %s specified.", name, f.needs)
			}
			value = words[i]
		}
		if err := f.set(o, value); err != nil {
			return err
		}
	}
	return nil
}

// optionsFile takes -o out of the arguments. Without it the file is the one in
// the user's configuration directory, under the name of Mosquitto's tool.
func optionsFile(tool int, args []string) (path string, rest []string, err error) {
	for i := 0; i < len(args); i++ {
		if args[i] != "-o" {
			rest = append(rest, args[i])
			continue
		}
		if i++; i == len(args) {
			return "", nil, usageError("-o argument given but no options file specified.")
		}
		if path != "" {
			return "", nil, usageError("Duplicate -o argument given.")
		}
		path = args[i]
	}
	if path != "" {
		return path, rest, nil
	}
	name := map[int]string{inPub: "mosquitto_pub", inSub: "mosquitto_sub"}[tool]
	if dir := os.Getenv("XDG_CONFIG_HOME"); dir != "" {
		return filepath.Join(dir, name), rest, nil
	}
	if home := os.Getenv("HOME"); home != "" {
		return filepath.Join(home, ".config", name), rest, nil
	}
	return "", rest, nil
}

// readOptionsFile gives the words of the file: a line is a flag, one blank, and
// the value to the end of the line. A missing file has none.
func readOptionsFile(path string) ([]string, error) {
	if path == "" {
		return nil, nil
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, usagef("Unable to read options file: %v.", err)
	}
	var words []string
	for line := range strings.Lines(string(b)) {
		line = strings.TrimRight(line, "\r\n")
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(line, " ")
		words = append(words, name)
		if ok {
			words = append(words, value)
		}
	}
	return words, nil
}

// check looks at what the flags say together.
func (o *options) check(tool int) error {
	switch {
	case !o.will && o.willPayload != nil:
		return usageError("Will payload given, but no will topic given.")
	case !o.will && o.willRetain:
		return usageError("Will retain given, but no will topic given.")
	case o.persistent && o.clientID == "" && o.idPrefix == "":
		return usageError("You must provide a client id if you are using the -c option.")
	case o.password != nil && o.user == nil && o.version != mqtt.V5:
		return usageError("Problem setting username and/or password.")
	}
	if o.idPrefix != "" {
		o.clientID = o.idPrefix + strconv.Itoa(os.Getpid())
	}
	if tool == inPub {
		return o.checkPub()
	}
	if len(o.topics) == 0 {
		return usageError("You must specify a topic to subscribe to.")
	}
	for _, t := range o.topics {
		if err := mqtt.CheckFilter(t); err != nil {
			return usagef("Invalid subscription topic '%s', are all '+' and '#' wildcards correct?", t)
		}
	}
	return nil
}

// errIncomplete is followed by the whole usage.
var errIncomplete = usageError("Both topic and message must be supplied.")

func (o *options) checkPub() error {
	if len(o.topics) == 0 || o.source == fromNowhere {
		return errIncomplete
	}
	topic := o.topics[len(o.topics)-1]
	if err := mqtt.CheckTopicName(topic); err != nil {
		return usagef("Invalid publish topic '%s', does it contain '+' or '#'?", topic)
	}
	o.topics = []string{topic}
	return nil
}
