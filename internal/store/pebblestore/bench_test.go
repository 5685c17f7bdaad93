package pebblestore

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/store"
)

// BenchmarkCommit: each writer is a session whose messages are queued, sent and,
// one step later, acknowledged, one commit at a time and each on stable storage.
func BenchmarkCommit(b *testing.B) {
	for _, level := range []store.Level{store.Flush, store.Write} {
		for _, writers := range []int{1, 64, 512} {
			b.Run(fmt.Sprintf("level=%d/writers=%d", level, writers), func(b *testing.B) { benchCommit(b, level, writers) })
		}
	}
}

func benchCommit(b *testing.B, level store.Level, writers int) {
	s := mustOpen(b, b.TempDir(), Options{})
	defer func() {
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}()
	m := record.NewMessage([]byte("some/topic/of/a/device"), make([]byte, 200), nil)
	m.QoS = 1
	commit := func(ops []record.Op) {
		done := make(chan error, 1)
		s.Commit(&store.Batch{Ops: ops}, level, func(err error) { done <- err })
		if err := <-done; err != nil {
			b.Error(err)
		}
	}
	for k := range writers {
		commit([]record.Op{{Kind: record.PutSession, Session: &record.Session{Key: record.SessionKey(k + 1), ClientID: fmt.Sprint(k)}}})
	}
	before := s.Stats()
	b.ResetTimer()
	start, c := time.Now(), cpu()
	var wg sync.WaitGroup
	for k := range writers {
		wg.Go(func() {
			key := record.SessionKey(k + 1)
			for i := k; i < b.N; i += writers {
				seq := uint64(i + 1)
				ops := []record.Op{
					{Kind: record.Enqueue, Key: key, Entry: record.Queued{Msg: m, Seq: seq, QoS: 1}},
					{Kind: record.PutInflight, Key: key, Seq: seq, PacketID: uint16(seq) | 1, State: 1},
				}
				if seq > uint64(writers) {
					ops = append(ops, record.Op{Kind: record.Dequeue, Key: key, Seq: seq - uint64(writers)})
				}
				commit(ops)
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	took, used := time.Since(start), cpu()-c
	after := s.Stats()
	n := float64(b.N)
	b.ReportMetric(n/took.Seconds(), "commits/s")
	b.ReportMetric(float64(used.Microseconds())/n, "cpu-µs/commit")
	b.ReportMetric(n/float64(after.Groups-before.Groups+1), "commits/group")
	b.ReportMetric(float64(after.BytesWritten-before.BytesWritten)/(n*200), "write-amplification")
	b.ReportMetric(float64(after.FsyncTime.Microseconds())/float64(after.Fsyncs+1), "µs/fsync")
}

// BenchmarkMessages is the store's part of a broker under load: two loops commit
// batches of 256 messages for a hundred sessions, four batches in flight each,
// and acknowledge those of a batch that has completed.
func BenchmarkMessages(b *testing.B) {
	const loops, sessions, size, inFlight = 2, 100, 256, 4
	s := mustOpen(b, b.TempDir(), Options{})
	defer func() {
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}()
	m := record.NewMessage([]byte("some/topic/of/a/device"), make([]byte, 200), nil)
	m.QoS = 1
	for k := range loops * sessions {
		commitAll(b, s, store.Flush, record.Op{Kind: record.PutSession, Session: &record.Session{Key: record.SessionKey(k + 1), ClientID: fmt.Sprint(k)}})
	}
	before := s.Stats()
	b.ResetTimer()
	start, c := time.Now(), cpu()
	var wg sync.WaitGroup
	for l := range loops {
		wg.Go(func() {
			room := make(chan struct{}, inFlight)
			var sent [inFlight + 1][]record.Op // by batch; the oldest has completed
			seq := uint64(0)
			for n := 0; n < b.N/loops; n += size {
				ops := make([]record.Op, 0, 3*size)
				done := &sent[n/size%len(sent)]
				for _, op := range *done {
					ops = append(ops, record.Op{Kind: record.Dequeue, Key: op.Key, Seq: op.Entry.Seq})
				}
				*done = nil
				for range size {
					seq++
					key := record.SessionKey(1 + l*sessions + int(seq)%sessions)
					ops = append(ops, record.Op{Kind: record.Enqueue, Key: key, Entry: record.Queued{Msg: m, Seq: seq, QoS: 1}})
					*done = append(*done, ops[len(ops)-1])
					ops = append(ops, record.Op{Kind: record.PutInflight, Key: key, Seq: seq, PacketID: uint16(seq) | 1, State: 1})
				}
				room <- struct{}{}
				s.Commit(&store.Batch{Ops: ops}, store.Flush, func(err error) {
					if err != nil {
						b.Error(err)
					}
					<-room
				})
			}
			for range inFlight {
				room <- struct{}{}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	took, used := time.Since(start), cpu()-c
	after := s.Stats()
	n := float64(b.N)
	b.ReportMetric(n/took.Seconds(), "messages/s")
	b.ReportMetric(float64(used.Microseconds())/n, "cpu-µs/message")
	b.ReportMetric(n/float64(after.Groups-before.Groups+1), "messages/group")
	b.ReportMetric(float64(after.BytesWritten-before.BytesWritten)/(n*200), "write-amplification")
	b.ReportMetric(float64(after.LogBytes-before.LogBytes)/n, "log-bytes/message")
}
