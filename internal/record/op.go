package record

import "fmt"

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

// Check says of a list of changes that one lacks its record or is of unknown
// kind, as store.Store's Commit has to refuse it; before the first is carried out.
func Check(ops []Op) error {
	for i := range ops {
		if bad := fault(&ops[i]); bad != "" {
			return fmt.Errorf("change %d of %d (kind %d): %s", i+1, len(ops), ops[i].Kind, bad)
		}
	}
	return nil
}

// fault says why a change cannot be carried out; "" when it can.
func fault(op *Op) string {
	switch op.Kind {
	case PutSession:
		if op.Session == nil {
			return "no session"
		}
	case PutSubscription:
		if op.Sub == nil {
			return "no subscription"
		}
	case Enqueue, PutRetained:
		if op.Entry.Msg == nil {
			return "no message"
		}
	case PutWill:
		if op.Will == nil || op.Will.Msg == nil {
			return "no will message"
		}
	case PutInflight, PutInbound, DeleteInbound:
		if op.PacketID == 0 {
			return "packet identifier 0"
		}
	case DeleteSession, DeleteSubscription, Dequeue, DeleteWill, DeleteRetained:
	default:
		return "unknown kind"
	}
	return ""
}
