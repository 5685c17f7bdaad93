package pubsub

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/midgemq/midge/mqtt"
)

// maxPayload is the longest payload in bytes, the protocol's limit.
const maxPayload = mqtt.MaxVarint

// errDone says that no message follows.
var errDone = errors.New("no more messages")

// payload reads the message of all sources but lines.
func (o *options) payload(e *Env) ([]byte, error) {
	switch o.source {
	case fromArgument:
		return []byte(o.message), nil
	case fromFile:
		return readPayloadFile(o.message)
	case fromStdin:
		b, err := readPayload(e.Stdin)
		if err != nil {
			return nil, usageError("Error loading input from stdin: " + err.Error() + ".")
		}
		if len(b) == 0 {
			return nil, usageError("Error: Zero length input.\nError loading input from stdin.")
		}
		return b, nil
	case fromNull, fromLines, fromNowhere:
	default:
	}
	return nil, nil
}

func readPayload(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxPayload+1))
	if err == nil && len(b) > maxPayload {
		err = fmt.Errorf("longer than %d bytes", maxPayload)
	}
	return b, err
}

func readPayloadFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, usageError(fmt.Sprintf("Error: Unable to open file \"%s\".\nError loading input file \"%s\".", path, path))
	}
	defer f.Close()
	b, err := readPayload(f)
	if err != nil {
		return nil, usageError(fmt.Sprintf("Error loading input file \"%s\": %v.", path, err))
	}
	return b, nil
}

// message is what the source goroutine hands over; err ends the source.
type message struct {
	payload []byte
	err     error
}

// repeated yields the message as often as --repeat says.
func (o *options) repeated(payload []byte, stop <-chan struct{}) func() ([]byte, error) {
	left := o.repeat
	return func() ([]byte, error) {
		if left == 0 {
			return nil, errDone
		}
		if left != o.repeat && o.delay > 0 {
			t := time.NewTimer(o.delay)
			defer t.Stop()
			select {
			case <-t.C:
			case <-stop:
				return nil, errDone
			}
		}
		left--
		return payload, nil
	}
}

// lines yields the lines of stdin: the line feed is taken off, a carriage return stays, a NUL byte cuts the line, a last line
// without line feed counts.
func lines(r io.Reader) func() ([]byte, error) {
	in := bufio.NewReader(r)
	return func() ([]byte, error) {
		line, err := in.ReadBytes('\n')
		if err != nil && len(line) == 0 {
			if errors.Is(err, io.EOF) {
				return nil, errDone
			}
			return nil, fmt.Errorf("Error loading input from stdin: %w", err)
		}
		line = bytes.TrimSuffix(line, []byte{'\n'})
		if i := bytes.IndexByte(line, 0); i >= 0 {
			line = line[:i]
		}
		return line, nil
	}
}

// feed is the source goroutine: reading may block for ever, so nobody waits for it.
func feed(next func() ([]byte, error), to chan<- message, stop <-chan struct{}) {
	for {
		payload, err := next()
		select {
		case to <- message{payload, err}:
		case <-stop:
			return
		}
		if err != nil {
			return
		}
	}
}
