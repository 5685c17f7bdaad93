package workers

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// GOMAXPROCS follows what is reserved and comes back.
func TestReserve(t *testing.T) {
	was := runtime.GOMAXPROCS(0)
	a := Reserve(2)
	p := New(3)
	if n := runtime.GOMAXPROCS(0); n != was+5 {
		t.Errorf("GOMAXPROCS %d, not %d", n, was+5)
	}
	if Processors() != was {
		t.Errorf("%d processors, not %d", Processors(), was)
	}
	a()
	p.Close()
	p.Close()
	if n := runtime.GOMAXPROCS(0); n != was || Processors() != was {
		t.Errorf("GOMAXPROCS %d, not %d", n, was)
	}
}

// No more jobs run at a time than there are threads, and all of them do.
func TestPool(t *testing.T) {
	p := New(2)
	defer p.Close()
	var now, most, ran atomic.Int32
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			err := p.Do(context.Background(), func() {
				n := now.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				runtime.Gosched()
				ran.Add(1)
				now.Add(-1)
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if most.Load() > 2 || ran.Load() != 20 {
		t.Errorf("%d at a time, %d ran", most.Load(), ran.Load())
	}
}

func TestEnds(t *testing.T) {
	p := New(1)
	busy, free := make(chan bool), make(chan bool)
	go func() { _ = p.Do(context.Background(), func() { busy <- true; <-free }) }()
	<-busy
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := p.Do(ctx, func() { t.Error("ran") }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	close(free)
	func() {
		defer func() {
			if recover() != "x" {
				t.Error("the panic is lost")
			}
		}()
		_ = p.Do(context.Background(), func() { panic("x") })
	}()
	p.Close()
	if err := p.Do(context.Background(), func() { t.Error("ran") }); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}
