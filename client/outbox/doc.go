// Package outbox keeps the session state of an MQTT client beyond the end of the process: the messages it has accepted and not
// delivered, with their packet identifiers, and the identifiers of QoS 2 messages it has received. Store is the contract; [Open]
// makes one in a file, [NewMemory] one in memory.
//
// It never sends anything and knows nothing of connections. A Store is called by one goroutine at a time, the client's; closing and
// opening belong to whoever starts the client.
package outbox
