package reach

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/midgemq/midge/internal/wsproto"
	"github.com/midgemq/midge/mqtt"
)

// wsConn is the byte stream inside a WebSocket connection.
type wsConn struct {
	net.Conn

	mu  sync.Mutex // guards ws and out: both directions change the layer's state
	ws  *wsproto.Client
	out []byte

	// Of the reading goroutine.
	raw     []byte
	app     []byte
	rest    []byte // of app, not read yet
	lastErr error
}

// upgrade makes the WebSocket handshake. On error the caller closes nc.
func (o *Options) upgrade(ctx context.Context, nc net.Conn) (net.Conn, error) {
	offer := []string{wsproto.SubprotocolMQTT}
	if o.Version == mqtt.V31 {
		offer = []string{wsproto.SubprotocolMQTT31, wsproto.SubprotocolMQTT}
	}
	if o.Subprotocol != "" {
		offer = []string{o.Subprotocol}
	}
	ws, err := wsproto.NewClient(wsproto.ClientOptions{Host: o.Address(), Path: o.path(), Header: o.Header, Subprotocols: offer})
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	c := &wsConn{Conn: nc, ws: ws, raw: make([]byte, 64<<10)}
	if _, err := nc.Write(ws.Start(nil)); err != nil {
		stop()
		return nil, err
	}
	for !ws.Open() {
		if err := c.fill(); err != nil {
			stop()
			return nil, err
		}
	}
	if !stop() {
		return nil, context.Cause(ctx)
	}
	return c, nil
}

// fill reads once from the socket. What it decodes goes to rest.
func (c *wsConn) fill() error {
	if c.lastErr != nil {
		return c.lastErr
	}
	n, err := c.Conn.Read(c.raw)
	if n == 0 && err != nil {
		return err
	}
	c.mu.Lock()
	var werr error
	c.app, c.out, werr = c.ws.Inbound(c.app[:0], c.raw[:n], c.out[:0])
	out := c.out
	if len(out) > 0 {
		if _, e := c.Conn.Write(out); e != nil && werr == nil {
			werr = e
		}
	}
	c.mu.Unlock()
	c.rest, c.lastErr = c.app, werr
	if len(c.rest) > 0 {
		return nil
	}
	return werr
}

// Read gives the bytes inside the frames.
func (c *wsConn) Read(p []byte) (int, error) {
	for len(c.rest) == 0 {
		if err := c.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// Write sends p as one frame.
func (c *wsConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = c.ws.Outbound(c.out[:0], p)
	if _, err := c.Conn.Write(c.out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close says goodbye as far as that does not block, and closes the socket.
func (c *wsConn) Close() error {
	c.Conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	c.mu.Lock()
	c.Conn.Write(c.ws.Close(nil, wsproto.CloseNormal))
	c.mu.Unlock()
	return c.Conn.Close()
}
