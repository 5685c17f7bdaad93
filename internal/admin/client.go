package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// maxReply bounds a reply in bytes, so that a tool that reached something else
// than a broker does not fill its memory.
const maxReply = 256 << 20

// Conn is a tool's connection to a control socket. One goroutine at a time may
// use it.
type Conn struct {
	conn net.Conn
	in   *bufio.Reader
	id   int
}

// Dial connects to the control socket at path.
func Dial(ctx context.Context, path string) (*Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return &Conn{conn: c, in: bufio.NewReader(c)}, nil
}

// Close ends the connection.
func (c *Conn) Close() error { return c.conn.Close() }

// Call runs a command and stores its result in result, which may be nil. An
// error that the broker reports is an *Error.
func (c *Conn) Call(ctx context.Context, command string, args, result any) error {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Time{}
	}
	if err := c.conn.SetDeadline(deadline); err != nil {
		return err
	}
	c.id++
	line, err := json.Marshal(struct {
		ID      int    `json:"id"`
		Command string `json:"command"`
		Args    any    `json:"args,omitempty"`
	}{c.id, command, args})
	if err != nil {
		return err
	}
	if _, err := c.conn.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("control socket: send %s: %w", command, err)
	}
	reply, err := c.readLine()
	if err != nil {
		return fmt.Errorf("control socket: reply to %s: %w", command, err)
	}
	var r struct {
		ID     *int            `json:"id"`
		OK     bool            `json:"ok"`
		Result json.RawMessage `json:"result"`
		Error  *Error          `json:"error"`
	}
	if err := json.Unmarshal(reply, &r); err != nil {
		return fmt.Errorf("control socket: reply to %s: %w", command, err)
	}
	switch {
	case r.Error != nil:
		return r.Error
	case !r.OK || r.ID == nil || *r.ID != c.id:
		return fmt.Errorf("control socket: reply to %s does not belong to it", command)
	case result == nil:
		return nil
	}
	return json.Unmarshal(r.Result, result)
}

func (c *Conn) readLine() ([]byte, error) {
	var line []byte
	for {
		part, err := c.in.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			return line, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		case len(line) > maxReply:
			return nil, errors.New("longer than 256 MiB")
		}
	}
}
