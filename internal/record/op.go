package record

// OpKind is the kind of one change to what is stored.
type OpKind uint8

// Kinds of changes. The comment names the fields of Op that count.
const (
	PutSession         OpKind = iota + 1 // Session
	DeleteSession                        // Key: the session and all it owns
	PutSubscription                      // Key, Sub
	DeleteSubscription                   // Key, Filter
	Enqueue                              // Key, Entry
	PutInflight                          // Key, Seq, PacketID, State
	Dequeue                              // Key, Seq: delivered, dropped or expired
	PutInbound                           // Key, PacketID: a QoS 2 id that awaits PUBREL
	DeleteInbound                        // Key, PacketID
	PutWill                              // Key, Will
	DeleteWill                           // Key
	PutRetained                          // Entry.Msg
	DeleteRetained                       // Filter: the topic
)

// Op is one change. It is a plain tagged struct, not an interface, so that a
// batch is one slice without an allocation per change.
type Op struct {
	Session  *Session
	Sub      *Subscription
	Will     *Will
	Entry    Queued
	Filter   string
	Key      SessionKey
	Seq      uint64
	PacketID uint16
	// State is a flow.State: how far an outgoing exchange has come.
	State uint8
	Kind  OpKind
}
