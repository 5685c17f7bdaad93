package router

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

// Subscriptions of even subscribers never change, odd ones come and go from several goroutines while others match: every result
// holds the even ones and none that cannot match. Run with -race it also proves the locking.
func TestConcurrentMatch(t *testing.T) {
	tree := New[int]()
	for i := range 40 {
		tree.Subscribe(fmt.Sprintf("a/%d/+", i%4), 2*i, Options{ID: uint32(i%4 + 1)})
		tree.SubscribeShared("even", fmt.Sprintf("a/%d/#", i%4), 2*i, Options{})
	}
	var stop atomic.Bool
	var writers, readers sync.WaitGroup
	for w := range 3 {
		writers.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 5))
			for range 4000 {
				i, s := r.IntN(4), 2*(r.IntN(50)+50*w)+1
				f := fmt.Sprintf("a/%d/+", i)
				if r.IntN(3) == 0 {
					f = fmt.Sprintf("a/%d/b", i)
				}
				if r.IntN(2) == 0 {
					tree.Subscribe(f, s, Options{ID: uint32(i + 1)})
					tree.SubscribeShared("even", fmt.Sprintf("a/%d/#", i), s, Options{})
				} else {
					tree.Unsubscribe(f, s)
					tree.UnsubscribeShared("even", fmt.Sprintf("a/%d/#", i), s)
				}
			}
		})
	}
	for w := range 3 {
		readers.Go(func() {
			cache := NewCache(tree, 3, 1<<16)
			var own Result[int]
			r := rand.New(rand.NewPCG(uint64(w), 6))
			for n := 0; n < 1000 || !stop.Load(); n++ {
				i := r.IntN(4)
				topic := fmt.Sprintf("a/%d/b", i)
				res := &own
				if n%2 == 0 {
					res = cache.Lookup([]byte(topic))
				} else {
					tree.Match(topic, res)
				}
				even := 0
				for _, m := range res.Plain {
					if m.ID != uint32(i+1) {
						t.Errorf("topic %s: subscription of another filter: %+v", topic, m)
						return
					}
					if m.Sub%2 == 0 {
						even++
					}
				}
				if even != 10 || len(res.Groups) != 1 {
					t.Errorf("topic %s: %d of 10 lasting subscriptions, %d of 1 groups", topic, even, len(res.Groups))
					return
				}
				if m, ok := res.Groups[0].Pick(func(s int) bool { return s%2 == 0 }); !ok || m.Sub%2 != 0 {
					t.Errorf("topic %s: picked %+v, %v", topic, m, ok)
					return
				}
				cache.Sweep(1)
			}
		})
	}
	writers.Wait()
	stop.Store(true)
	readers.Wait()
}

// Once Subscribe has returned, every cache on every goroutine knows: no message published afterwards may miss the subscription.
func TestCacheSeesFinishedChanges(t *testing.T) {
	tree := New[int]()
	var published atomic.Int64 // the newest subscriber of "t"
	var noise, readers sync.WaitGroup
	var stop atomic.Bool
	noise.Go(func() {
		for i := 0; !stop.Load(); i++ {
			f := fmt.Sprint("n/", i%100)
			tree.Subscribe(f, -1, Options{})
			tree.Unsubscribe(f, -1)
		}
	})
	for range 2 {
		readers.Go(func() {
			cache := NewCache(tree, 10, 1<<20)
			for !stop.Load() {
				least := published.Load()
				if n := len(cache.Lookup([]byte("t")).Plain); int64(n) < least {
					t.Errorf("%d subscribers, want at least %d", n, least)
					return
				}
			}
		})
	}
	for i := range 2000 {
		tree.Subscribe("t", i, Options{})
		published.Store(int64(i + 1))
	}
	stop.Store(true)
	noise.Wait()
	readers.Wait()
}

// A cursor visits what lasts exactly once while others set and delete around it.
func TestConcurrentCursor(t *testing.T) {
	index := NewRetained[int]()
	const lasting = 500
	for i := range lasting {
		index.Set(fmt.Sprintf("d/%d/keep", i), i, 0)
	}
	var stop atomic.Bool
	var writers sync.WaitGroup
	for w := range 2 {
		writers.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 7))
			for seq := uint64(1); !stop.Load(); seq++ {
				topic := fmt.Sprintf("d/%d/%d", r.IntN(lasting), r.IntN(20))
				if r.IntN(2) == 0 {
					index.Set(topic, -1, seq)
				} else {
					index.Delete(topic)
				}
				index.Get(topic)
			}
		})
	}
	for range 20 {
		for _, filter := range []string{"d/+/keep", "#"} {
			c, seen := index.Cursor(filter, 0), make([]int, lasting)
			for done := false; !done; {
				done = c.Next(16, func(topic string, m int) bool {
					if m < 0 {
						t.Errorf("filter %s: %s is newer than the cursor", filter, topic)
						return false
					}
					seen[m]++
					return true
				})
			}
			for i, n := range seen {
				if n != 1 {
					t.Errorf("filter %s: entry %d visited %d times", filter, i, n)
				}
			}
		}
	}
	stop.Store(true)
	writers.Wait()
}
