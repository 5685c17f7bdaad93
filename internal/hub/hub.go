// Package hub joins sessions: it owns the table of sessions, takes connections
// over, routes messages to subscribers, keeps retained messages and wills, and
// sees to the order of the data path: route, commit, release.
//
// A Hub is shared by all loops; a Shard belongs to one loop, and so does every
// session: whoever connects under a client id is moved to the loop that owns its
// session, so that no session is ever stepped by two goroutines. Other loops
// reach a session only through the inbox of its shard. Nothing here does I/O:
// sockets are behind Link, the disk behind the store, time is an argument.
package hub

import (
	"hash/maphash"
	"sync"
	"sync/atomic"

	"github.com/midgemq/midge/internal/auth"
	"github.com/midgemq/midge/internal/logging"
	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/router"
	"github.com/midgemq/midge/internal/session"
	"github.com/midgemq/midge/internal/store"
	"github.com/midgemq/midge/mqtt"
)

// Config is what the hub is told; immutable.
type Config struct {
	// Control is given what permitted clients publish below $CONTROL; it must not
	// block and may keep what it is given. Nil: such topics are refused.
	Control func(from *auth.Client, topic string, payload []byte)
	// ConnectTimeout ends a connection that has not been admitted, in whatever
	// state its handshakes are: sockets that say nothing, or little by little
	// (connect_timeout).
	ConnectTimeout record.Instant
	Rules          session.Rules
	// MaxPacket is max_packet_size in bytes, 0: the protocol's limit.
	MaxPacket uint32
	// MaxKeepAlive is max_keepalive in seconds, 0: no limit.
	MaxKeepAlive uint16
	// MessageSizeLimit is message_size_limit: payload bytes, 0: none.
	MessageSizeLimit int
	// RetainAvailable is retain_available.
	RetainAvailable bool
	// AllowDuplicates is allow_duplicate_messages.
	AllowDuplicates bool
	// No… switch features off, as a library user may wish.
	NoWildcards, NoShared, NoSubscriptionIDs bool
	// MaxOutput is max_output_bytes: what may wait for one connection beyond what
	// its socket has taken, in bytes.
	MaxOutput int
	// MaxOutputPackets is how many packets may wait for a connection that does
	// not take them before QoS 0 is dropped (max_queued_messages); 0: no limit.
	MaxOutputPackets int
	// UpgradeQoS is upgrade_outgoing_qos.
	UpgradeQoS bool
	// MaxClients is global_max_clients: sessions, 0: no limit.
	MaxClients int
	// ResponseInfo is given to clients that request response information.
	ResponseInfo string
	// Level is how durable what is acknowledged must be, where neither a listener
	// nor TopicLevel says otherwise (persistence_sync).
	Level store.Level
	// TopicLevel gives the level for messages on a topic; ok false: nothing is said
	// about it. nil: about none (persistence_sync_topic). Called by any loop.
	TopicLevel func(topic string) (level store.Level, ok bool)
	// Refuse is queue_policy refuse: what a full queue would drop is not accepted.
	Refuse bool
	// MaxTotalQueued is max_total_queued_bytes: payload bytes in all queues, 0: no
	// limit.
	MaxTotalQueued int64
	// Policy decides on rights, where no Security was given to a listener.
	Policy auth.Policy
	// CheckRetainSource is check_retain_source.
	CheckRetainSource bool
	// AssignedID makes client ids for clients that bring none, but for the
	// listener's prefix.
	AssignedID func() string
}

// Listener is what connections have from the listener they came by. Immutable
// but for the count and for what Replace put in its place.
type Listener struct {
	Port           int
	AllowAnonymous bool
	// MaxTopicAlias is max_topic_alias, the number of aliases a client may set;
	// MaxTopicAliasBroker that of aliases the broker sets.
	MaxTopicAlias, MaxTopicAliasBroker uint16
	// MaxQoS is the highest QoS, announced when below 2.
	MaxQoS mqtt.QoS
	// MountPoint is mount_point.
	MountPoint string
	// Refuse31, Refuse311 and Refuse5 switch versions off
	// (accept_protocol_versions).
	Refuse31, Refuse311, Refuse5 bool
	// Level is that of persistence_sync for this listener; nil: the broker's.
	Level *store.Level
	// IdentityAsUser and SubjectAsUser give clients the name of their certificate
	// (use_identity_as_username, use_subject_as_username); the first wins.
	IdentityAsUser, SubjectAsUser bool
	// MaxConnections is max_connections, 0: no limit.
	MaxConnections int
	// Open counts open connections, those with earlier and later settings too.
	Open atomic.Int64

	security atomic.Pointer[auth.Security] // of the listener as it was opened, see Secure

	from *Listener                // the settings the listener was opened with; nil: these
	now  atomic.Pointer[Listener] // those in force, nil: these
}

// Replace puts other settings in force for connections that come from now on.
// l is what the listener was opened with. Any goroutine.
func (l *Listener) Replace(n *Listener) {
	n.from = l
	l.now.Store(n)
}

// Now returns the settings in force for a listener that was opened with l. Any
// goroutine.
func (l *Listener) Now() *Listener {
	if n := l.now.Load(); n != nil {
		return n
	}
	return l
}

// Count adds to the open connections and returns how many there are. Any
// goroutine.
func (l *Listener) Count(d int64) int64 {
	if l.from != nil {
		l = l.from
	}
	return l.Open.Add(d)
}

const tableShards = 64

// cacheLine is what processors fetch and own at a time, two lines of 64 bytes.
const cacheLine = 128

type tableShard struct {
	mu sync.Mutex
	m  map[string]*Client
}

// Hub is what all loops share.
type Hub struct {
	// immutable
	Log      *logging.Logger
	Store    store.Store
	Shards   []*Shard
	Tree     *router.Tree[*Client]
	Retained *router.Retained[*record.Message]
	seed     maphash.Seed
	// immediate is what Store says.
	immediate bool
	failing   store.Failing // Store, when it can fail for a while; nil: it cannot
	batches   sync.Pool

	// atomic, read for every message and hardly ever written
	cfg     atomic.Pointer[Config]
	scarce  atomic.Bool            // memory_limit is reached
	frozen  atomic.Int32           // how many want that no client moves
	trouble atomic.Pointer[string] // why storage takes nothing, nil: it does
	orphans atomic.Pointer[auth.Security]

	// atomic, written by all loops: each line of the processors' caches by itself,
	// or a write here would cost the readers above theirs
	_      [cacheLine]byte
	seq    atomic.Uint64
	_      [cacheLine]byte
	queued atomic.Int64 // payload bytes in all queues
	_      [cacheLine]byte

	keys    atomic.Uint64
	expired atomic.Uint64

	// guarded by its own mutexes
	logins authPool

	table [tableShards]tableShard
}

// New makes a hub without shards; add them with AddShard before any connection.
func New(cfg *Config, log *logging.Logger, st store.Store) *Hub {
	h := &Hub{
		Log: log, Store: st, seed: maphash.MakeSeed(),
		Tree: router.New[*Client](), Retained: router.NewRetained[*record.Message](),
	}
	h.cfg.Store(cfg)
	h.immediate = st.Immediate()
	h.failing, _ = st.(store.Failing)
	h.batches.New = func() any { return new(store.Batch) }
	for i := range h.table {
		h.table[i].m = make(map[string]*Client)
	}
	return h
}

// Cfg returns the configuration in force. It is immutable; a step that needs
// values that belong together asks once. Any goroutine.
func (h *Hub) Cfg() *Config { return h.cfg.Load() }

// Replace puts another configuration in force, for steps that begin from now
// on. Sessions follow when their shard is told, see Shard.Follow. Any goroutine.
func (h *Hub) Replace(cfg *Config) { h.cfg.Store(cfg) }

func (h *Hub) shardOf(id string) *tableShard {
	return &h.table[maphash.String(h.seed, id)%tableShards]
}

// claim returns the client of this id, made for shard sh when there is none.
func (h *Hub) claim(id string, sh *Shard) *Client {
	t := h.shardOf(id)
	t.mu.Lock()
	c := t.m[id]
	if c == nil {
		c = &Client{ID: id}
		c.shard.Store(sh)
		c.S = session.New(&h.Cfg().Rules, h.nextKey(), id)
		t.m[id] = c
	}
	t.mu.Unlock()
	return c
}

// forget takes the client out of the table, on its own loop.
func (h *Hub) forget(c *Client) {
	t := h.shardOf(c.ID)
	t.mu.Lock()
	if t.m[c.ID] == c {
		delete(t.m, c.ID)
	}
	t.mu.Unlock()
}

// Find returns the client of this id, nil for none. What it points to belongs to
// its loop: use Post to look inside. Any goroutine.
func (h *Hub) Find(id string) *Client {
	t := h.shardOf(id)
	t.mu.Lock()
	c := t.m[id]
	t.mu.Unlock()
	return c
}

// Sessions returns how many sessions there are. Any goroutine.
func (h *Hub) Sessions() (n int) {
	for i := range h.table {
		t := &h.table[i]
		t.mu.Lock()
		n += len(t.m)
		t.mu.Unlock()
	}
	return n
}

// Expired returns how many persistent sessions ended by their expiry.
func (h *Hub) Expired() uint64 { return h.expired.Load() }

func (h *Hub) nextKey() record.SessionKey { return record.SessionKey(h.keys.Add(1)) }

func (h *Hub) nextSeq() uint64 { return h.seq.Add(1) }

// enter puts a subscription into the tree; existed as the tree saw it.
func (h *Hub) enter(c *Client, s *record.Subscription) {
	o := router.Options{QoS: s.QoS, NoLocal: s.NoLocal, RetainAsPublished: s.RetainAsPublished, ID: s.ID}
	if group, inner, shared, _ := mqtt.ParseShared(s.Filter); shared {
		h.Tree.SubscribeShared(group, inner, c, o)
	} else {
		h.Tree.Subscribe(s.Filter, c, o)
	}
}

// leave takes a subscription out of the tree.
func (h *Hub) leave(c *Client, filter string) {
	if group, inner, shared, _ := mqtt.ParseShared(filter); shared {
		h.Tree.UnsubscribeShared(group, inner, c)
	} else {
		h.Tree.Unsubscribe(filter, c)
	}
}

// Client is one session with the connection it has at present. What a delivery of
// QoS 0 reads lies together at the beginning: of a million clients hardly one is
// in a cache of the processor, and each line of 64 bytes is a wait for memory.
type Client struct {
	// shard owns the client; while it moves to another loop, that loop's transit.
	// Atomic: other loops read it to know where mail goes.
	shard atomic.Pointer[Shard]
	// owned by the shard's loop
	link Link
	// atomic
	rights atomic.Pointer[rights] // nil: nobody was there to ask
	live   atomic.Uint32          // liveOnline and others: what other loops need to know
	// owned by the shard's loop
	// fast: QoS 0 frames may be passed on as they are: no alias, no size limit. v5:
	// the version of the present or last connection.
	fast, v5 bool
	clean    bool
	ended    bool
	// cursors deliver retained messages of recent subscriptions.
	cursors []*cursor

	ID string // immutable

	// owned by the shard's loop
	S session.Session
	// listener is that of the last connection, as it was opened; nil: none since
	// the start. hasUser: it gave a user name.
	listener *Listener
	// resting are subscriptions that the client may not hold at present.
	resting map[string]struct{}
	// timerAt is the earliest entry in the shard's wheel; 0: none.
	timerAt record.Instant
	// last is the ticket of the last batch in which the session or what it
	// published changed; settle the one when the last connection ended.
	last, settle uint64
	counted      int64  // its part of the sum of what waits in all queues
	mount        string // mount point of the present or last connection
	since        record.Instant
	stored       atomic.Uint64 // the session's key once its record is submitted, 0 before and when it has none; any loop
	gen          uint32
	keep         uint16
	level        store.Level // of its listener; ownLevel: which says so itself
	ownLevel     bool
	hasUser      bool
	maxQoS       mqtt.QoS
	reread       bool  // a read of its queue failed and is due again
	unread       bool  // a read of its queue is due when it has arrived
	fetching     uint8 // reads of its queue that are under way
	warned       bool  // the line about drops was written for this connection
}

const (
	liveOnline = 1 << iota
	liveV5
	liveFull // at a limit: nothing more may be queued
)

func online(c *Client) bool { return c.live.Load()&liveOnline != 0 }

// Frame is one encoded PUBLISH that several connections are given.
type Frame struct {
	B []byte
	// Payload is the size of its payload in bytes.
	Payload int
	// Owned: B is never written again and may be kept by reference.
	Owned bool
	// Lease is what B lies in, nil for memory of its own: who keeps B holds it.
	Lease *Lease
}

// Own makes sure that B may be kept.
func (f *Frame) Own() {
	if !f.Owned {
		f.B, f.Owned = append([]byte(nil), f.B...), true
	}
}

// Link is the connection of an online client as its shard sees it. All methods
// are called on the shard's loop and never block.
type Link interface {
	// Accept tells, before CONNACK, which client the connection carries.
	Accept(c *Client, a *Admission)
	// Send encodes one packet. With gated it leaves only when Release is called
	// with this ticket; so does whatever must not overtake it. held: it waits.
	Send(s *session.Send, gated uint64) (held bool)
	// Frame passes an encoded QoS 0 PUBLISH on; DropNone: it was taken.
	Frame(f *Frame) session.Drop
	// Kick ends the connection from the broker's side.
	Kick(e End)
	// Release lets out what waited for tickets up to this one.
	Release(ticket uint64)
	// Describe returns the peer's address and port and the bytes that wait to be
	// written.
	Describe() (address string, waiting int)
	// Room reports whether the output is low enough for more bulk.
	Room() bool
	// Move hands the connection over to the loop of another shard, which calls
	// its Admit. To the shard it is on: the client is about to come here, see Await.
	Move(to *Shard, a *Admission)
}

// Timed is what Shard.TimerFor calls when the instant has come.
//
// sh is the shard that was asked, which a connection may have left meanwhile.
type Timed interface {
	Timer(sh *Shard, now record.Instant)
}

// End says why a connection is ended.
type End struct {
	// Code is sent in DISCONNECT to MQTT 5 clients; Success: just close.
	Code mqtt.ReasonCode
	// Reason is the word in the log line, Text the reason string.
	Reason logging.Reason
	Text   string
	// ServerReference goes with UseAnotherServer and ServerMoved.
	ServerReference string
}
