package monitor

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"time"
	"unicode/utf8"
)

// line is one message in JSON.
type line struct {
	Time    string `json:"time"`
	Topic   string `json:"topic"`
	Payload string `json:"payload"`
	Base64  bool   `json:"base64,omitempty"` // the payload is no UTF-8
	Size    int    `json:"bytes"`
	QoS     int    `json:"qos"`
	Retain  bool   `json:"retain"`
	Changed bool   `json:"changed"`
}

// follow prints changed values, or all messages, line by line until the context ends or enough were printed.
func follow(ctx context.Context, o *options, s *source, out, errs io.Writer) error {
	b := newBoard()
	w := bufio.NewWriter(out)
	printed, said := 0, ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.client.Done():
			return s.client.Err()
		case err := <-s.refused:
			return err
		case <-s.wake:
		}
		list, up, status, _ := s.get()
		if !up && status != said {
			fmt.Fprintln(errs, status)
		}
		said = status
		now := time.Now()
		for _, m := range list {
			_, changed := b.take(m, now)
			if !changed && !o.all {
				continue
			}
			if err := o.line(w, m, changed, now); err != nil {
				return err
			}
			if printed++; printed == o.count {
				return w.Flush()
			}
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
}

// line prints one message. Payloads are escaped: the reader may be a terminal after all.
func (o *options) line(w io.Writer, m message, changed bool, now time.Time) error {
	if o.json {
		l := line{
			Time: now.Format(time.RFC3339Nano), Topic: m.topic, Payload: string(m.payload), Size: len(m.payload), QoS: int(m.qos),
			Retain: m.retain, Changed: changed,
		}
		if !utf8.Valid(m.payload) {
			l.Payload, l.Base64 = base64.StdEncoding.EncodeToString(m.payload), true
		}
		return json.NewEncoder(w).Encode(&l)
	}
	mark := " "
	if m.retain {
		mark = "R"
	}
	_, err := fmt.Fprintf(w, "%s %s %s %s\n", now.Format("15:04:05.000"), mark, escaped([]byte(m.topic), 1<<20), escaped(m.payload, 1<<20))
	return err
}
