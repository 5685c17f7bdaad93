package logging

import "strings"

// Type is one kind of log line, or a set of them: the names of the option
// log_type, as bits.
type Type uint16

// The log types, in the order in which Mosquitto documents them.
const (
	Error Type = 1 << iota
	Warning
	Notice
	Information
	Debug
	Subscribe
	Unsubscribe
	Internal
	Websockets
)

// None, Default and All are the sets that log_type can name or imply.
const (
	None    Type = 0
	Default      = Error | Warning | Notice | Information
	All          = Default | Debug | Subscribe | Unsubscribe | Internal | Websockets
)

// typeInfo is the single list that ties a type to its name in the
// configuration, the last levels of its topic below $SYS/broker/log, and its
// syslog priority (the numbers of RFC 5424 section 6.2.1).
//
// An empty topic means that lines of the type are never published: with a
// subscriber to the log each debug line would cause the next one.
var typeInfo = []struct {
	t        Type
	name     string
	topic    string
	priority int
}{
	{Error, "error", "E", 3},
	{Warning, "warning", "W", 4},
	{Notice, "notice", "N", 5},
	{Information, "information", "I", 6},
	{Debug, "debug", "", 7},
	{Subscribe, "subscribe", "M/subscribe", 5},
	{Unsubscribe, "unsubscribe", "M/unsubscribe", 5},
	{Internal, "internal", "", noSyslog},
	{Websockets, "websockets", "WS", 7},
}

// noSyslog marks a type that is not sent to syslog.
const noSyslog = -1

// ParseType returns the type that log_type calls name; ok is false for any
// other word, "none" and "all" included, which are operations on the set.
func ParseType(name string) (t Type, ok bool) {
	for _, i := range typeInfo {
		if i.name == name {
			return i.t, true
		}
	}
	return 0, false
}

// String lists the names in the set, blank separated, or "none".
func (t Type) String() string {
	var names []string
	for _, i := range typeInfo {
		if t&i.t != 0 {
			names = append(names, i.name)
		}
	}
	if names == nil {
		return "none"
	}
	return strings.Join(names, " ")
}

// Dest is a set of places that log lines go to: the words of log_dest.
type Dest uint8

// The destinations. ToTopic needs a publisher, see Logger.PublishTo.
const (
	ToSyslog Dest = 1 << iota
	ToStdout
	ToStderr
	ToTopic
	ToFile
)

var destNames = []struct {
	d    Dest
	name string
}{
	{ToSyslog, "syslog"},
	{ToStdout, "stdout"},
	{ToStderr, "stderr"},
	{ToTopic, "topic"},
	{ToFile, "file"},
}

// ParseDest returns the destination that log_dest calls name. The word "none"
// is an operation on the set and not a destination.
func ParseDest(name string) (d Dest, ok bool) {
	for _, i := range destNames {
		if i.name == name {
			return i.d, true
		}
	}
	return 0, false
}

// String lists the names in the set, blank separated, or "none".
func (d Dest) String() string {
	var names []string
	for _, i := range destNames {
		if d&i.d != 0 {
			names = append(names, i.name)
		}
	}
	if names == nil {
		return "none"
	}
	return strings.Join(names, " ")
}
