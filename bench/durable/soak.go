//go:build linux

package main

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// runSoak keeps a moderate durable load up, with sessions that come and go, and
// looks whether the store or the memory of the broker grow without cause: each
// round ends with every queue empty.
func runSoak(dir string, d time.Duration) error {
	s, err := start(dir, true, "")
	if err != nil {
		return err
	}
	defer s.stop()
	const sessions, each = 50, 20000
	var delivered atomic.Int64
	filter := func(i int) string { return fmt.Sprintf("soak/%d/#", i) }
	for i := range sessions {
		c, err := dial(s.addr, fmt.Sprint("soak", i), false)
		if err != nil {
			return err
		}
		if err := c.subscribe(filter(i)); err != nil {
			return err
		}
		_ = c.Close()
	}
	var disk, memory []int64
	total := int64(0)
	for end := time.Now().Add(d); time.Now().Before(end); {
		if err := soakRound(s, sessions, each, &delivered, &total); err != nil {
			return err
		}
		u := s.usage()
		disk, memory = append(disk, s.onDisk()), append(memory, u.resident)
		n := len(disk) - 1
		fmt.Printf("%8d messages, all delivered: store %4d MiB, memory %4d MiB\n", total, disk[n]>>20, memory[n]>>20)
	}
	if len(disk) < 6 {
		return nil // too short to say anything
	}
	for name, v := range map[string][]int64{"store": disk, "memory": memory} {
		third := len(v) / 3
		early, late := highest(v[third/2:2*third]), highest(v[2*third:])
		if late > early*5/4+64<<20 {
			return fmt.Errorf("the %s grew from %d to %d MiB", name, early>>20, late>>20)
		}
	}
	return nil
}

func highest(v []int64) (n int64) {
	for _, x := range v {
		n = max(n, x)
	}
	return n
}

var errLate = errors.New("messages do not come")

// soakRound fills the queues of absent sessions, has them drained, and waits until
// everything has been delivered.
func soakRound(s *server, sessions, each int, delivered *atomic.Int64, total *int64) error {
	const writers = 10
	done := make(chan error, writers)
	for w := range writers {
		go func() {
			p, err := newPublisher(s.addr, fmt.Sprint("writer", w), fmt.Sprintf("soak/%d/%d", (w+int(*total/int64(each)))%sessions, w), 100)
			if err != nil {
				done <- err
				return
			}
			defer p.Close()
			done <- p.some(each / writers)
		}()
	}
	for range writers {
		if err := <-done; err != nil {
			return fmt.Errorf("publish: %w", err)
		}
	}
	*total += int64(each)
	for i := range sessions {
		c, err := dial(s.addr, fmt.Sprint("soak", i), false)
		if err != nil {
			return err
		}
		defer c.Close()
		go c.receive(delivered)
	}
	for began := time.Now(); delivered.Load() < *total; time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			return fmt.Errorf("%w: %d of %d", errLate, delivered.Load(), *total)
		}
	}
	time.Sleep(100 * time.Millisecond) // the last acknowledgements
	return nil
}

// some publishes n messages and waits for their acknowledgements.
func (p *publisher) some(n int) error {
	var buf, out []byte
	for open := 0; n > 0 || open > 0; {
		out = out[:0]
		for n > 0 && len(p.free) > 0 {
			out = p.append(out, <-p.free, time.Now())
			n--
			open++
		}
		if len(out) > 0 {
			if _, err := p.Write(out); err != nil {
				return err
			}
		}
		id, err := p.ack(&buf)
		if err != nil {
			return err
		}
		p.free <- id
		open--
	}
	return nil
}
