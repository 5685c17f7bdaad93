package router

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
)

// wildFilters gives 10,000 distinct filters: 60 % exact, 33 % with "+", 7 % with "#", as the load harness uses.
func wildFilters() (filters []string) {
	r := rand.New(rand.NewPCG(1, 1))
	seen := map[string]bool{}
	take := func(n int, gen func(a, b, c int) string) {
		for n > 0 {
			if f := gen(r.IntN(20), r.IntN(50), r.IntN(100)); !seen[f] {
				seen[f] = true
				filters = append(filters, f)
				n--
			}
		}
	}
	take(6000, func(a, b, c int) string { return fmt.Sprintf("w/%d/%d/%d", a, b, c) })
	take(1500, func(a, _, c int) string { return fmt.Sprintf("w/%d/+/%d", a, c) })
	take(700, func(a, b, _ int) string { return fmt.Sprintf("w/%d/%d/#", a, b) })
	take(1500, func(_, b, c int) string { return fmt.Sprintf("w/+/%d/%d", b, c) })
	take(300, func(a, _, c int) string { return fmt.Sprintf("+/%d/+/%d", a, c) })
	r.Shuffle(len(filters), func(i, j int) { filters[i], filters[j] = filters[j], filters[i] })
	return filters
}

func wildTopics(n int) (topics [][]byte) {
	r := rand.New(rand.NewPCG(2, 2))
	for range n {
		topics = append(topics, fmt.Appendf(nil, "w/%d/%d/%d", r.IntN(20), r.IntN(50), r.IntN(100)))
	}
	return topics
}

type session struct{ _ [64]byte }

func wildTree() *Tree[*session] {
	tree := New[*session]()
	subs := make([]*session, 100)
	for i := range subs {
		subs[i] = new(session)
	}
	for i, f := range wildFilters() {
		tree.Subscribe(f, subs[i%len(subs)], Options{})
	}
	return tree
}

// heap gives the live bytes, after everything unreachable is gone.
func heap() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// once runs f a single time per benchmark run and reports its time and the live bytes it left, each divided by n.
func once(b *testing.B, n int, f func() (keep any)) {
	var bytes float64
	for b.Loop() {
		b.StopTimer()
		before := heap()
		b.StartTimer()
		keep := f()
		b.StopTimer()
		bytes = heap() - before
		runtime.KeepAlive(keep)
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/each")
	b.ReportMetric(bytes/float64(n), "B/each")
}

func BenchmarkMatchMiss(b *testing.B) {
	tree, topics := wildTree(), wildTopics(4096)
	names := make([]string, len(topics))
	for i := range topics {
		names[i] = string(topics[i])
	}
	var r Result[*session]
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		tree.Match(names[i%len(names)], &r)
	}
}

func BenchmarkCacheHit(b *testing.B) {
	tree, topics := wildTree(), wildTopics(4096)
	c := NewCache(tree, 16384, 16<<20)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		c.Lookup(topics[i%len(topics)])
	}
}

// Every look-up misses: what a client with ever new topics costs.
func BenchmarkCacheMiss(b *testing.B) {
	tree, topics := wildTree(), wildTopics(100000)
	c := NewCache(tree, 1000, 16<<20)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		c.Lookup(topics[i%len(topics)])
	}
}

// One subscription elsewhere changes before every look-up.
func BenchmarkCacheChurn(b *testing.B) {
	tree, topics := wildTree(), wildTopics(16)
	c := NewCache(tree, 1000, 16<<20)
	s := new(session)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%2 == 0 {
			tree.Subscribe("client/of/its/own", s, Options{})
		} else {
			tree.Unsubscribe("client/of/its/own", s)
		}
		c.Lookup(topics[i%len(topics)])
	}
}

func BenchmarkSubscribe(b *testing.B) {
	s := new(session)
	b.Run("wild-10k", func(b *testing.B) {
		filters := wildFilters()
		once(b, len(filters), func() any {
			t := New[*session]()
			for _, f := range filters {
				t.Subscribe(f, s, Options{})
			}
			return t
		})
	})
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		filters := make([]string, n)
		for i := range filters {
			filters[i] = fmt.Sprintf("fleet/%d/dev-%d/cmd", i%50, i) // two new nodes and one new name each
		}
		b.Run(fmt.Sprint("distinct-", n), func(b *testing.B) {
			once(b, n, func() any {
				t := New[*session]()
				for _, f := range filters {
					t.Subscribe(f, s, Options{})
				}
				return t
			})
		})
	}
	subs := make([]*session, 100_000)
	for i := range subs {
		subs[i] = new(session)
	}
	b.Run("one-node-100k", func(b *testing.B) {
		once(b, len(subs), func() any {
			t := New[*session]()
			for _, s := range subs {
				t.Subscribe("news", s, Options{})
			}
			return t
		})
	})
	b.Run("one-group-100k", func(b *testing.B) {
		once(b, len(subs), func() any {
			t := New[*session]()
			for _, s := range subs {
				t.SubscribeShared("g", "news", s, Options{})
			}
			return t
		})
	})
	b.Run("change-on-one-node-100k", func(b *testing.B) {
		t := New[*session]()
		for _, s := range subs {
			t.Subscribe("news", s, Options{})
		}
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			t.Unsubscribe("news", subs[i%len(subs)])
			t.Subscribe("news", subs[i%len(subs)], Options{})
		}
	})
}

func BenchmarkFanout100k(b *testing.B) {
	t := New[*session]()
	for range 100_000 {
		t.Subscribe("news", new(session), Options{})
	}
	c := NewCache(t, 100, 16<<20)
	b.Run("hit", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c.Lookup([]byte("news"))
		}
	})
	b.Run("miss", func(b *testing.B) {
		var r Result[*session]
		for b.Loop() {
			t.Match("news", &r)
		}
	})
}

func BenchmarkPick(b *testing.B) {
	t := New[*session]()
	for range 10 {
		t.SubscribeShared("g", "news", new(session), Options{})
	}
	var r Result[*session]
	t.Match("news", &r)
	b.ReportAllocs()
	for b.Loop() {
		r.Groups[0].Pick(nil)
	}
}

func retainedTopics(n int) (topics []string) {
	for i := range n {
		topics = append(topics, fmt.Sprintf("ret/%d/dev-%d/temp", i/1000, i%1000))
	}
	return topics
}

func BenchmarkRetained(b *testing.B) {
	topics := retainedTopics(100_000)
	m := new(session)
	fill := func() *Retained[*session] {
		r := NewRetained[*session]()
		for i, topic := range topics {
			r.Set(topic, m, uint64(i))
		}
		return r
	}
	b.Run("set-100k", func(b *testing.B) { // the topic's text is the caller's
		once(b, len(topics), func() any { return fill() })
	})
	r := fill()
	b.Run("replace", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			r.Set(topics[i*7919%len(topics)], m, uint64(i))
		}
	})
	b.Run("get", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			r.Get(topics[i*7919%len(topics)])
		}
	})
	for _, filter := range []string{"ret/#", "ret/+/dev-7/temp", "ret/5/+/temp", "+/+/+/nothing"} {
		b.Run("visit "+filter, func(b *testing.B) {
			n := 0
			for b.Loop() {
				c := r.Cursor(filter, 1<<63)
				for !c.Next(64, func(string, *session) bool { n++; return true }) {
				}
			}
			if n > 0 {
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/visit")
			}
		})
	}
}
