package client

import (
	"context"
	"errors"
	"net"

	"github.com/midgemq/midge/client/internal/dial"
	"github.com/midgemq/midge/mqtt"
)

// OpenStream opens the byte stream to the first of o.Servers (socket, proxy, TLS, WebSocket) and says nothing of MQTT on it; NewConn
// goes on from there. Programs use it that want to do something between the two. ctx and o.ConnectTimeout bound it.
func OpenStream(ctx context.Context, o Options) (net.Conn, error) {
	o, srv, err := o.first()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, o.ConnectTimeout)
	defer cancel()
	nc, err := dial.Open(ctx, srv, o.dial(orVersion(o.Version, mqtt.V5)))
	if err != nil {
		return nil, notSent("connect", err)
	}
	return nc, nil
}

// first completes the options and reads the first of their servers.
func (o Options) first() (Options, dial.Server, error) {
	o, err := o.withDefaults()
	if err != nil {
		return o, dial.Server{}, err
	}
	if len(o.Servers) == 0 {
		return o, dial.Server{}, errors.New("option Servers: none given")
	}
	srv, err := dial.ParseServer(o.Servers[0])
	return o, srv, err
}
