// Package client connects Go programs to MQTT servers of versions 3.1, 3.1.1 and 5.0.
//
// # Two layers
//
// [Client] is what programs use: it keeps one session alive over as many connections as it takes, and all its methods may be called
// from any goroutine. [Conn] is one connection below it, packets in and packets out, for tools and tests; one goroutine reads, any
// may write. Package mqtt has the words (QoS, reason codes, messages), package client/outbox stores for messages that must survive
// the process, client/scram a method of enhanced authentication, client/device a helper for measuring programs.
//
// # Connecting
//
// [Connect] makes a client and waits for the first connection; [New] and [Client.Start] do not wait. From then on the client
// reconnects by itself, with growing pauses, to the servers of [Options.Servers] in turn. Subscriptions are declared once and made
// again whenever the server has forgotten them. Every wait takes a context.
//
// # Publishing
//
// [Client.Publish] returns when the message is delivered as far as its QoS promises. [Client.PublishAsync] returns at once with a
// [Publication] that stays true across reconnections. Messages of QoS 1 and 2 travel in a window, not one by one; how many wait in
// memory is bounded, and [Options.WhenFull] says what happens then. What is in flight when a connection breaks survives in a session
// that outlives connections: set [Options.SessionExpiry].
//
// The payload is copied; it may be reused when Publish or PublishAsync has returned.
//
// # Errors
//
// An [Error] answers the caller's question: [NotSent] (do it again without fear, see [SafeToRetry]), [Unknown] (it left, no answer
// came) or [Refused] with the server's reason code ([ReasonOf]). Options that cannot work are refused by New with the option's name.
//
// # Receiving
//
// A handler ([Client.Handle], [Client.Subscribe]), an iterator ([Client.Messages]), a channel ([Client.Channel]) or a [Stream] gets
// the messages of a topic filter. Handlers run on a bounded number of goroutines: messages on one topic one after the other in the
// order of their arrival, topics beside each other ([Options.Parallel] gives up the order too). A handler may publish, subscribe and
// close; it never stops the reading of the connection. QoS 1 and 2 messages are acknowledged when the handler returns, in the order
// in which they came, as the standard demands; with manual acknowledgement by [Message.Ack] or [Message.Reject].
//
// Subscriptions may be declared between [New] and [Client.Connect]: then their receivers are there for the first messages of a
// session that an earlier run left behind, which the server sends without waiting for a SUBSCRIBE:
//
//	c, err := client.New(client.Options{Servers: servers, ClientID: "c1", Resume: true, SessionExpiry: time.Hour})
//	err = c.Handle(ctx, "sensors/#", mqtt.AtLeastOnce, handle) // declares; the first connection asks for it
//	err = c.Connect(ctx)
//
// # Leaving
//
// [Client.Close] says goodbye and keeps the will unpublished; [Client.CloseWithWill] has it published, in every version.
//
// # What it never does
//
// It starts no goroutine before Start, holds no lock while it calls the program, logs nothing, and reads no environment variable or
// file beside the outbox. Pre-shared keys are refused ([ErrNoPSK]): crypto/tls has none.
package client
