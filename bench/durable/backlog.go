//go:build linux

package main

import (
	"fmt"
	"syscall"
	"time"

	"github.com/midgemq/midge/internal/testkit/rawmqtt"
)

const (
	backlogSessions = 10000
	backlogEach     = 100
)

// runBacklog fills the queues of absent sessions with 1 GB (unless told
// otherwise), looks at the memory of the broker, kills it and starts it again.
func runBacklog(dir string, payload int, retained bool) error {
	s, err := start(dir, true, "")
	if err != nil {
		return err
	}
	defer func() { s.stop() }()
	n := backlogSessions
	if !retained {
		for i := range n {
			c, err := dial(s.addr, fmt.Sprint("away", i), false)
			if err != nil {
				return err
			}
			if err := c.subscribe(fmt.Sprintf("backlog/%d", i)); err != nil {
				return err
			}
			_ = c.Close()
		}
		fmt.Printf("%d sessions, nothing queued: memory %d MiB\n", n, s.usage().resident>>20)
	}
	began := time.Now()
	const writers = 20
	done := make(chan error, writers)
	for w := range writers {
		go func() { done <- backlogWriter(s.addr, w, writers, payload, retained) }()
	}
	for range writers {
		if err := <-done; err != nil {
			return err
		}
	}
	total := n * backlogEach
	u := s.usage()
	fmt.Printf("%d messages of %d bytes in %v: memory %d MiB, at most %d MiB; %d MiB on disk, %d MiB written\n", total, payload,
		time.Since(began).Round(time.Second), u.resident>>20, u.peak>>20, s.onDisk()>>20, u.written>>20)
	_ = s.cmd.Process.Signal(syscall.SIGKILL)
	_ = s.cmd.Wait()
	began = time.Now()
	if s, err = start(dir, true, ""); err != nil {
		return err
	}
	fmt.Printf("started again after SIGKILL in %v, memory %d MiB\n", time.Since(began).Round(time.Millisecond), s.usage().resident>>20)
	return nil
}

func backlogWriter(addr string, w, writers, payload int, retained bool) error {
	const window = 50
	c, err := dial(addr, fmt.Sprint("writer", w), true)
	if err != nil {
		return err
	}
	defer c.Close()
	body := make([]byte, payload)
	var out, buf []byte
	open, id := 0, uint16(0)
	take := func() error {
		first, b, err := c.packet(buf)
		if err != nil {
			return err
		}
		buf = b[:cap(b)]
		if first>>4 != rawmqtt.PUBACK {
			return fmt.Errorf("packet type %d", first>>4)
		}
		open--
		return nil
	}
	for round := range backlogEach {
		for i := w; i < backlogSessions; i += writers {
			id = id%60000 + 1
			p := rawmqtt.Packet{Type: rawmqtt.PUBLISH, Flags: 2, ID: id, Topic: fmt.Sprintf("backlog/%d", i), Payload: body}
			if retained {
				p.Flags, p.Topic = 3, fmt.Sprintf("backlog/%d/%d", i, round)
			}
			out = append(out, p.Encode(rawmqtt.V311)...)
			open++
			for open >= window {
				if len(out) > 0 {
					if _, err := c.Write(out); err != nil {
						return err
					}
					out = out[:0]
				}
				if err := take(); err != nil {
					return err
				}
			}
		}
	}
	if _, err := c.Write(out); err != nil {
		return err
	}
	for open > 0 {
		if err := take(); err != nil {
			return err
		}
	}
	return nil
}
