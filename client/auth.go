package client

import "context"

// AuthMethod is a method of enhanced authentication (5.0, section 4.12). It must be safe for use by several goroutines: one
// exchange may begin before another has ended.
type AuthMethod interface {
	// Name is the Authentication Method.
	Name() string
	// Begin starts one exchange, for a connection or a re-authentication.
	Begin(ctx context.Context) AuthExchange
}

// AuthExchange is the client's side of one exchange; one goroutine at a time calls it.
type AuthExchange interface {
	// Start returns the Authentication Data of CONNECT, or of the AUTH packet that begins a re-authentication; nil for none.
	Start() ([]byte, error)
	// Respond answers a challenge of the server (AUTH 0x18).
	Respond(challenge []byte) ([]byte, error)
	// Finish judges the data that came with the server's success, nil when there was none. An error ends the connection: the
	// server has not proved itself.
	Finish(data []byte) error
}
