package dial

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/midgemq/midge/internal/wsproto"
)

// goodbye is how long the closing frame may take: a peer that does not read must not hold up the end.
const goodbye = time.Second

// wsConn carries the byte stream of MQTT in WebSocket frames; their borders mean nothing [MQTT-6.0.0-2]. One goroutine may read
// while another writes.
type wsConn struct {
	net.Conn

	// Owned by the reading goroutine.
	raw   []byte
	app   []byte // decoded and not yet read
	appAt int
	err   error

	// mu guards the layer, which is no place for two at a time: reading produces pongs, writing frames. It is not held while the
	// socket blocks.
	mu    sync.Mutex
	layer *wsproto.Client
	reply []byte // pongs and closing frames, waiting for the writer

	// wmu orders writes to the socket.
	wmu sync.Mutex
	out []byte
}

func dialWebSocket(ctx context.Context, nc net.Conn, s Server, o *Options) (net.Conn, error) {
	host := s.addr
	if _, port, err := net.SplitHostPort(s.addr); err == nil && (port == "80" && !s.secure || port == "443" && s.secure) {
		host = s.host
	}
	layer, err := wsproto.NewClient(wsproto.ClientOptions{
		Host: host, Path: s.path, Header: o.Header, Subprotocols: subprotocols(o.Version),
	})
	if err != nil {
		return nil, err
	}
	c := &wsConn{Conn: nc, layer: layer, raw: make([]byte, 32<<10)}
	stop := Interrupt(ctx, nc)
	err = c.handshake()
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (c *wsConn) handshake() error {
	if _, err := c.Conn.Write(c.layer.Start(nil)); err != nil {
		return err
	}
	for !c.layer.Open() {
		if err := c.fill(); err != nil {
			return err
		}
	}
	return nil
}

// fill reads from the socket once and decodes.
func (c *wsConn) fill() error {
	if c.err != nil {
		return c.err
	}
	n, err := c.Conn.Read(c.raw)
	if n > 0 {
		c.mu.Lock()
		var decodeErr error
		c.app, c.reply, decodeErr = c.layer.Inbound(c.app[:0], c.raw[:n], c.reply)
		answer := len(c.reply) > 0
		c.mu.Unlock()
		c.appAt = 0
		if decodeErr != nil {
			c.err = decodeErr
		}
		if answer {
			c.answer()
		}
	}
	if err != nil && c.err == nil {
		c.err = err
	}
	if n > 0 && len(c.app) > 0 {
		return nil
	}
	return c.err
}

func (c *wsConn) Read(p []byte) (int, error) {
	for c.appAt == len(c.app) {
		if err := c.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.app[c.appAt:])
	c.appAt += n
	return n, nil
}

func (c *wsConn) Write(p []byte) (int, error) {
	c.wmu.Lock()
	err := c.flushLocked(p)
	c.wmu.Unlock()
	if err != nil {
		return 0, err
	}
	c.answer()
	return len(p), nil
}

// answer sends what the layer wants said, unless a writer is at work: that one looks again when it is done. The reading goroutine
// must never wait for a writer, or two ends that write at each other both stop.
func (c *wsConn) answer() {
	for {
		c.mu.Lock()
		waiting := len(c.reply) > 0
		c.mu.Unlock()
		if !waiting || !c.wmu.TryLock() {
			return
		}
		err := c.flushLocked(nil)
		c.wmu.Unlock()
		if err != nil {
			return // the next read or write meets the same error
		}
	}
}

// flushLocked writes the answers that wait and then app. wmu is held.
func (c *wsConn) flushLocked(app []byte) error {
	c.mu.Lock()
	out := append(c.out[:0], c.reply...)
	c.reply = c.reply[:0]
	if len(app) > 0 {
		out = c.layer.Outbound(out, app)
	}
	c.mu.Unlock()
	if c.out = out; cap(out) > 1<<20 {
		c.out = nil // one large message must not pin its size
	}
	_, err := c.Conn.Write(out)
	return err
}

// Close says goodbye in WebSocket's way if that does not block, and closes the socket.
func (c *wsConn) Close() error {
	if c.wmu.TryLock() {
		c.mu.Lock()
		bye := c.layer.Close(nil, wsproto.CloseNormal)
		c.mu.Unlock()
		c.Conn.SetWriteDeadline(time.Now().Add(goodbye))
		c.Conn.Write(bye)
		c.wmu.Unlock()
	}
	return c.Conn.Close()
}
