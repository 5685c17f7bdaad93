// Package metrics names what the broker counts, once, and renders the counts as
// the topics of $SYS/broker.
//
// It never counts anything itself: each loop counts in plain integers of its
// own, and whoever owns the parts adds them up in a Snapshot. It publishes
// nothing, reads no clock and starts no goroutine; time comes in as an
// argument. A Snapshot and a SysTree belong to one goroutine at a time, the
// functions without receiver may be called from any.
package metrics

import (
	"reflect"
	"strings"
)

// Snapshot is every figure of the broker at one moment.
//
// The tags are the one place where a figure is named: `metric` is its name in
// other systems, `kind` says whether it only grows (counter) or goes both ways
// (gauge), `sys` are its topics below $SYS/broker/, older name last, `load` is
// the topic of its averages below $SYS/broker/load/. With rule:"increase" the
// topic only follows a new maximum; with rule:"ours" Mosquitto does not have it,
// so that it need not be as odd at the start as SysTree is. The order of the
// fields is the order in which topics are published.
type Snapshot struct {
	ClientsTotal        int64 `metric:"clients" kind:"gauge" sys:"clients/total" help:"Known client ids, connected ones and sessions that wait for their client."`
	ClientsMaximum      int64 `metric:"clients_maximum" kind:"gauge" sys:"clients/maximum" rule:"increase" help:"Highest number of known client ids at an update of $SYS. Set by SysTree."`
	ClientsConnected    int64 `metric:"clients_connected" kind:"gauge" sys:"clients/connected clients/active" help:"Open connections, those that have not sent CONNECT yet included."`
	ClientsDisconnected int64 `metric:"clients_disconnected" kind:"gauge" sys:"clients/disconnected clients/inactive" help:"Sessions without a connection. Set by SysTree."`
	ClientsExpired      int64 `metric:"clients_expired_total" kind:"counter" sys:"clients/expired" help:"Sessions removed because their expiry was reached."`

	StoredMessages      int64 `metric:"stored_messages" kind:"gauge" sys:"messages/stored store/messages/count" help:"Messages held: retained, queued and in flight, each once."`
	StoredBytes         int64 `metric:"stored_bytes" kind:"gauge" sys:"store/messages/bytes" help:"Payload bytes of the messages held."`
	NotDurable          int64 `metric:"acknowledged_not_durable" kind:"gauge" sys:"store/acknowledged_not_durable" rule:"ours" help:"Changes that were acknowledged and are not on stable storage yet; always 0 with persistence_sync flush."`
	StorageDown         int64 `metric:"storage_down" kind:"gauge" sys:"store/down" rule:"ours" help:"1 while storage takes nothing and messages that would be stored are refused."`
	QueuedBytes         int64 `metric:"queued_bytes" kind:"gauge" sys:"store/queued/bytes" rule:"ours" help:"Payload bytes that wait in the queues of all clients."`
	StoreLost           int64 `metric:"store_lost_total" kind:"counter" sys:"store/lost" rule:"ours" help:"Stored records that did not check and were left out, since the start."`
	Subscriptions       int64 `metric:"subscriptions" kind:"gauge" sys:"subscriptions/count" help:"Ordinary subscriptions of all sessions."`
	SharedSubscriptions int64 `metric:"shared_subscriptions" kind:"gauge" sys:"shared_subscriptions/count" help:"Members of shared subscriptions."`
	Retained            int64 `metric:"retained_messages" kind:"gauge" sys:"retained messages/count" help:"Retained messages, those of $SYS included."`

	HeapBytes   int64 `metric:"heap_bytes" kind:"gauge" sys:"heap/current" help:"Bytes of live and not yet swept heap objects."`
	HeapMaximum int64 `metric:"heap_maximum_bytes" kind:"gauge" sys:"heap/maximum" rule:"increase" help:"Highest heap size at an update of $SYS. Set by SysTree."`

	PacketsReceived      int64 `metric:"packets_received_total" kind:"counter" sys:"messages/received" load:"messages/received" help:"MQTT packets of any type received."`
	PacketsSent          int64 `metric:"packets_sent_total" kind:"counter" sys:"messages/sent" load:"messages/sent" help:"MQTT packets of any type sent."`
	BytesReceived        int64 `metric:"received_bytes_total" kind:"counter" sys:"bytes/received" load:"bytes/received" help:"Bytes read from sockets."`
	BytesSent            int64 `metric:"sent_bytes_total" kind:"counter" sys:"bytes/sent" load:"bytes/sent" help:"Bytes written to sockets."`
	PublishBytesReceived int64 `metric:"publish_received_bytes_total" kind:"counter" sys:"publish/bytes/received" help:"Payload bytes of PUBLISH packets received, counted before any check."`
	PublishBytesSent     int64 `metric:"publish_sent_bytes_total" kind:"counter" sys:"publish/bytes/sent" help:"Payload bytes of PUBLISH packets sent."`
	OutPackets           int64 `metric:"output_packets" kind:"gauge" sys:"packet/out/count" help:"Packets waiting to be written to sockets."`
	OutBytes             int64 `metric:"output_bytes" kind:"gauge" sys:"packet/out/bytes" help:"Bytes waiting to be written to sockets."`
	Sockets              int64 `metric:"sockets_total" kind:"counter" sys:"connections/socket/count" load:"sockets" help:"Sockets accepted, whatever became of them."`
	PublishDropped       int64 `metric:"publish_dropped_total" kind:"counter" sys:"publish/messages/dropped" load:"publish/dropped" help:"Messages dropped because a limit was reached."`
	PublishReceived      int64 `metric:"publish_received_total" kind:"counter" sys:"publish/messages/received" load:"publish/received" help:"PUBLISH packets received, counted before any check."`
	PublishSent          int64 `metric:"publish_sent_total" kind:"counter" sys:"publish/messages/sent" load:"publish/sent" help:"PUBLISH packets sent."`
	Connects             int64 `metric:"connects_total" kind:"counter" load:"connections" help:"CONNECT packets received."`
	Moved                int64 `metric:"connections_moved_total" kind:"counter" help:"Connections that went to another event loop because theirs was busy."`
}

// Field describes one figure of a Snapshot.
type Field struct {
	Name    string // for other systems, without a prefix
	Help    string
	Counter bool // only grows

	index    int
	topics   []string
	load     string // empty: no averages
	increase bool
	ours     bool
}

// Value returns the figure in s.
func (f *Field) Value(s *Snapshot) int64 {
	return reflect.ValueOf(s).Elem().Field(f.index).Int()
}

// Fields lists the figures in order. The slice is shared and must not be
// changed.
func Fields() []Field { return fields }

var fields = readFields()

func readFields() []Field {
	t := reflect.TypeFor[Snapshot]()
	out := make([]Field, t.NumField())
	for i := range out {
		tag := t.Field(i).Tag
		f := Field{
			Name:     tag.Get("metric"),
			Help:     tag.Get("help"),
			Counter:  tag.Get("kind") == "counter",
			index:    i,
			load:     tag.Get("load"),
			increase: tag.Get("rule") == "increase",
			ours:     tag.Get("rule") == "ours",
		}
		if sys := tag.Get("sys"); sys != "" {
			f.topics = splitTopics(sys)
		}
		out[i] = f
	}
	return out
}

// splitTopics cuts at blanks, except in the one topic that holds a blank.
func splitTopics(s string) []string {
	if s == "retained messages/count" {
		return []string{s}
	}
	return strings.Fields(s)
}

// Add adds every figure of o to s: loops hand in what each of them counted.
func (s *Snapshot) Add(o *Snapshot) {
	to, from := reflect.ValueOf(s).Elem(), reflect.ValueOf(o).Elem()
	for i := range to.NumField() {
		to.Field(i).SetInt(to.Field(i).Int() + from.Field(i).Int())
	}
}

// Map gives the figures by name, for reports. The maxima are left out: they
// exist only where SysTree sets them.
func (s *Snapshot) Map() map[string]int64 {
	m := make(map[string]int64, len(fields))
	for i := range fields {
		if !fields[i].increase {
			m[fields[i].Name] = fields[i].Value(s)
		}
	}
	m["clients_disconnected"] = s.disconnected()
	return m
}

// Figures gives the figures by their topics below SysPrefix, the newest name of
// each, for the HTTP API.
func (s *Snapshot) Figures() map[string]int64 {
	m := make(map[string]int64, len(fields))
	for i := range fields {
		if t := fields[i].topics; len(t) > 0 {
			m[SysPrefix+t[0]] = fields[i].Value(s)
		}
	}
	return m
}

// disconnected counts the sessions without a connection. Connections that have
// not sent CONNECT yet count as connected but have no session; Mosquitto wraps
// around below zero then.
func (s *Snapshot) disconnected() int64 { return max(s.ClientsTotal-s.ClientsConnected, 0) }
