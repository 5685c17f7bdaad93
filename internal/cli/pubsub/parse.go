package pubsub

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/midgemq/midge/internal/cli/flagtable"
	"github.com/midgemq/midge/mqtt"
)

// The two flags that end a tool before it has begun, and the fault that is followed by the whole usage.
var (
	errHelp       = errors.New("--help")
	errVersion    = errors.New("--version")
	errIncomplete = usageError("Error: Both topic and message must be supplied.")
)

// setting is one flag as it was given.
type setting struct {
	flag   *flagtable.Flag
	values []string
}

// parse reads the options file and then the arguments, which win.
func parse(e *Env, tool int, args []string) (*options, error) {
	o := &options{port: -1, version: mqtt.V311, keepAlive: 60, inflight: 20, repeat: 1}
	if tool == inRR {
		o.version = mqtt.V5
	}
	given, err := collect(tool, args, e.Midge)
	if err != nil {
		return nil, err
	}
	path, err := optionsFile(tool, given)
	if err != nil {
		return nil, err
	}
	file, err := readOptionsFile(tool, path, e.Midge)
	if err != nil {
		return nil, err
	}
	if err := o.apply(tool, file); err != nil {
		return nil, err
	}
	before := *o
	o.topics, o.source = nil, fromNowhere
	if err := o.apply(tool, given); err != nil {
		return nil, err
	}
	if o.source == fromNowhere {
		o.source, o.message = before.source, before.message
	}
	if o.topics == nil || tool == inSub {
		o.topics = append(before.topics, o.topics...)
	}
	return o, o.check(tool)
}

// collect reads the flags without setting anything, but for --help and --version, which end the reading.
func collect(tool int, args []string, midge bool) ([]setting, error) {
	var given []setting
	_, err := table(tool).Parse(args, midge, func(f *flagtable.Flag, values []string) error {
		if f.Key() == "--help" || f.Key() == "--version" {
			return setter(tool, f.Key())(nil, nil)
		}
		given = append(given, setting{f, values})
		return nil
	})
	if err == nil {
		return given, nil
	}
	if e, ok := errors.AsType[*flagtable.UnknownError](err); ok {
		return nil, usagef("Unknown option '%s'.", e.Word)
	}
	if e, ok := errors.AsType[*flagtable.MissingError](err); ok {
		word := e.Word
		if alias := map[string]string{"-D": "--property", "-V": "--protocol-version"}[word]; alias != "" {
			word = alias // so Mosquitto's message has it
		}
		return nil, usagef("%s argument given but %s specified.", word, e.Flag.Needs)
	}
	if e, ok := errors.AsType[*flagtable.RefusedError](err); ok {
		return nil, usagef("The option '%s' is not supported: %s.", e.Word, e.Flag.Refused)
	}
	if errors.Is(err, errHelp) || errors.Is(err, errVersion) || errors.As(err, new(usageError)) {
		return nil, err
	}
	return nil, usagef("%s.", err)
}

// apply sets what the flags say.
func (o *options) apply(tool int, given []setting) error {
	for _, s := range given {
		if err := setter(tool, s.flag.Key())(o, s.values); err != nil {
			return err
		}
	}
	return nil
}

// optionsFile is the file of -o, or the one in the user's configuration directory under the name of Mosquitto's tool.
func optionsFile(tool int, given []setting) (string, error) {
	path := ""
	for _, s := range given {
		if s.flag.Key() != "-o" {
			continue
		}
		if path != "" {
			return "", usagef("Duplicate -o argument given.")
		}
		path = s.values[0]
	}
	if path != "" {
		return path, nil
	}
	if runtime.GOOS == "windows" {
		if home := os.Getenv("USERPROFILE"); home != "" {
			return filepath.Join(home, programs[tool]+".conf"), nil
		}
		return "", nil
	}
	if dir := os.Getenv("XDG_CONFIG_HOME"); dir != "" {
		return filepath.Join(dir, programs[tool]), nil
	}
	if home := os.Getenv("HOME"); home != "" {
		return filepath.Join(home, ".config", programs[tool]), nil
	}
	return "", nil
}

// readOptionsFile gives the flags of the file: a line is a flag, one blank, and the value to the end of the line. A missing file has
// none.
func readOptionsFile(tool int, path string, midge bool) ([]setting, error) {
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
	var given []setting
	for line := range strings.Lines(string(b)) {
		line = strings.TrimRight(line, "\r\n")
		if line == "" || line[0] == '#' {
			continue
		}
		args := strings.SplitN(line, " ", 2)
		list, err := collect(tool, args, midge)
		if err != nil {
			return nil, err
		}
		given = append(given, list...)
	}
	return given, nil
}

// check looks at what the flags say together.
func (o *options) check(tool int) error {
	if err := o.tls.check(); err != nil {
		return err
	}
	switch {
	case !o.will && o.willPayload != nil:
		return usagef("Will payload given, but no will topic given.")
	case !o.will && o.willRetain:
		return usagef("Will retain given, but no will topic given.")
	case o.persistent && o.clientID == "" && o.idPrefix == "" && o.version != mqtt.V5:
		return usagef("You must provide a client id if you are using the -c option.")
	case o.password != nil && o.user == nil && o.version != mqtt.V5:
		return usagef("Problem setting username and/or password.")
	}
	if err := o.checkSession(); err != nil {
		return err
	}
	if o.idPrefix != "" {
		o.clientID = o.idPrefix + strconv.Itoa(os.Getpid())
	}
	for name, v := range map[string]string{"id": o.clientID, "username": value(o.user)} {
		if !mqtt.ValidString(v) || len(v) > mqtt.MaxString {
			return usagef("Invalid %s, it must be valid UTF-8 of at most 65535 bytes.", name)
		}
	}
	o.server()
	switch tool {
	case inPub:
		return o.checkPub()
	case inSub:
		return o.checkSub()
	default:
		return o.checkRR()
	}
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// server fills in host and port.
func (o *options) server() {
	if o.host == "" {
		o.host = "localhost"
	}
	if o.port > 0 {
		return
	}
	o.port = 1883
	if (o.tls.caFile != "" || o.tls.caPath != "") && !o.tls.off {
		o.port = 8883
	}
}

func (o *options) checkSession() error {
	if o.version != mqtt.V5 {
		if o.sessionExpiry != nil || o.props.any() {
			o.warnings = append(o.warnings, "properties and -x are of MQTT v5, they are not sent with "+versionName(o.version)+".")
		}
		return nil
	}
	expiry := o.sessionExpiry
	if expiry == nil {
		expiry = o.props.connect.SessionExpiry
	}
	if expiry == nil && o.persistent {
		never := uint32(mqtt.NeverExpires)
		expiry = &never
	}
	if expiry != nil && *expiry == mqtt.NeverExpires && o.clientID == "" && o.idPrefix == "" {
		return usagef("You must provide a client id if you are using an infinite session expiry interval.")
	}
	o.sessionExpiry = expiry
	return o.props.check()
}

func (o *options) checkPub() error {
	if len(o.topics) == 0 || o.source == fromNowhere {
		return errIncomplete
	}
	return o.checkTopic()
}

// checkTopic keeps the last topic that was given, the one to publish on.
func (o *options) checkTopic() error {
	topic := o.topics[len(o.topics)-1]
	if err := mqtt.CheckTopicName(topic); err != nil {
		return usagef("Invalid publish topic '%s', does it contain '+' or '#'?", topic)
	}
	o.topics = []string{topic}
	return nil
}

func (o *options) checkSub() error {
	switch {
	case len(o.topics) == 0 && len(o.unsubscribe) == 0:
		return usagef("You must specify a topic to subscribe to.")
	case o.retainedOnly && o.noRetained:
		return usagef("Combining '-R' and '--retained-only' makes no sense.")
	}
	for _, t := range o.topics {
		if err := mqtt.CheckFilter(t); err != nil {
			return usagef("Invalid subscription topic '%s', are all '+' and '#' wildcards correct?", t)
		}
	}
	return o.finishOutput()
}

func (o *options) checkRR() error {
	if len(o.topics) == 0 || o.source == fromNowhere || o.responseTopic == "" {
		return usagef("All of topic, message, and response topic must be supplied.")
	}
	if err := mqtt.CheckTopicName(o.responseTopic); err != nil {
		return usagef("Invalid response topic '%s', does it contain '+' or '#'?", o.responseTopic)
	}
	if o.props.publish.ResponseTopic != "" {
		return usageError("Error in PUBLISH properties: Duplicate response topic.")
	}
	if err := o.checkTopic(); err != nil {
		return err
	}
	return o.finishOutput()
}

// finishOutput turns --json into the format it stands for.
func (o *options) finishOutput() error {
	if o.json && o.format == nil {
		o.format = []piece{{spec: specJSON}}
	}
	if o.noRetained && o.version == mqtt.V5 {
		o.retainHandling = 2
	}
	if o.version != mqtt.V5 && (o.retainAsPublished || o.retainHandling != 0) {
		o.warnings = append(o.warnings, "--retain-as-published and --retain-handling are of MQTT v5, they are not sent with "+versionName(o.version)+".")
	}
	return nil
}
