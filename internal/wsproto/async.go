package wsproto

// Async is a Layer that also works between the calls: a TLS handshake that
// computes elsewhere, a file that is being read. [Stack] passes it on to both of
// its layers. All methods but the function given to Notify are called by the
// goroutine that owns the connection.
type Async interface {
	Layer

	// Notify gives the layer the function that asks for a call of Inbound with no
	// bytes, because it has something to send or to say. The layer may call it
	// from any goroutine. Called once, before Start.
	Notify(wake func())

	// Full reports that the layer holds as much as it should: reading is to stop
	// until it asks for a call.
	Full() bool

	// Drained tells that all bytes the layer gave out have been written.
	Drained()

	// Drop ends what goes on elsewhere. Called once the connection is closed, in
	// whatever state it is; nothing else is called after it.
	Drop()
}

// Peer is what a layer below MQTT knows about who is calling. It is immutable.
type Peer struct {
	// TLSVersion ("TLSv1.3") and Cipher (as OpenSSL names it) are empty without
	// TLS, whether spoken here or, by the word of a PROXY header, before.
	TLSVersion, Cipher string

	// Certificate says that the client showed a certificate and that it was
	// verified. CommonName and Subject (RFC 2253) are its names; both are empty
	// otherwise.
	Certificate         bool
	CommonName, Subject string
}

// Identified is a layer that knows its peer.
type Identified interface {
	// Peer returns what is known, nil for nothing. The owner of the connection
	// calls it, when the layer is open.
	Peer() *Peer
}

// PeerOf returns what l or a layer below knows about the peer, nil for nothing.
func PeerOf(l Layer) *Peer {
	if i, ok := l.(Identified); ok {
		return i.Peer()
	}
	return nil
}

// Preface is a layer that is there for the first bytes alone, as a PROXY header
// is, and then gives way to the layers above.
type Preface interface {
	Layer

	// After returns the layers to go on with, nil for none, and the peer's
	// address as A:P, empty when it stays the socket's. done is false while the
	// preface is not complete.
	After() (next Layer, addr string, done bool)
}

// ErrServed is the end of a connection that asked for a file or a page and got
// its answer.
type ErrServed struct {
	Status int // of the answer
}

func (e *ErrServed) Error() string { return "request answered" }
