package router

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/midgemq/midge/mqtt"
)

// FuzzTree reads a list of changes and topics, one a line: "+filter" subscribes, "-filter" unsubscribes, anything else is a topic.
// The subscriber is the line's length, so that several share a filter now and then.
func FuzzTree(f *testing.F) {
	f.Add("+a/#\n+a/+\n+$share/g/a\na\na/\n-a/#\na")
	f.Add("+#\n+$SYS/#\n+$share/x/#\n$SYS/a\n-#\n-$share/x/#\nb")
	f.Add("++/+\n+/\n+//\n/\n//\n-+/+\n-/\n/")
	f.Fuzz(func(t *testing.T, script string) {
		tree, m := New[int](), model{}
		cache := NewCache(tree, 4, 2000)
		var res Result[int]
		for line := range strings.Lines(script) {
			line = strings.TrimSuffix(line, "\n")
			if line == "" {
				continue
			}
			op, filter := line[0], line[1:]
			if op == '+' || op == '-' {
				group, inner, _, err := mqtt.ParseShared(filter)
				if err != nil || mqtt.CheckFilter(inner) != nil {
					continue
				}
				k := subKey{group, inner, len(line) % 3}
				_, had := m[k]
				var got bool
				switch {
				case op == '+' && group == "":
					got = tree.Subscribe(inner, k.sub, Options{})
				case op == '+':
					got = tree.SubscribeShared(group, inner, k.sub, Options{})
				case group == "":
					got = tree.Unsubscribe(inner, k.sub)
				default:
					got = tree.UnsubscribeShared(group, inner, k.sub)
				}
				if got != had {
					t.Fatalf("%q existed: %v, want %v", line, got, had)
				}
				if delete(m, k); op == '+' {
					m[k] = Options{}
				}
				continue
			}
			if mqtt.CheckTopicName(line) != nil {
				continue
			}
			want := m.match(line)
			tree.Match(line, &res)
			if got := flatten(&res); !slices.Equal(got, want) {
				t.Fatalf("topic %q: got %v, want %v", line, got, want)
			}
			if got := flatten(cache.Lookup([]byte(line))); !slices.Equal(got, want) {
				t.Fatalf("topic %q from the cache: got %v, want %v", line, got, want)
			}
		}
		for k := range m {
			if k.group == "" {
				tree.Unsubscribe(k.filter, k.sub)
			} else {
				tree.UnsubscribeShared(k.group, k.filter, k.sub)
			}
		}
		checkEmpty(t, tree)
	})
}

// FuzzCursor sets topics, one a line, and visits them with a filter, entries being deleted and set again between the chunks.
func FuzzCursor(f *testing.F) {
	f.Add("a/+/b", "a\na-\na/\na/x/b\na/x-/b\na/x/b/c\na0\nb", uint64(1))
	f.Add("+/#", "$SYS/x\n$\n%\n/\n//\na", uint64(2))
	f.Add("a/#", "a\na/b\na!\na0/b\nA", uint64(3))
	f.Add("+/a/+/b", "a/a/a/b\na/a/b\na/a/a/b/c\na/a-/a/b\nb/a/a/b\nb/a//b", uint64(4))
	f.Fuzz(func(t *testing.T, filter, topics string, seed uint64) {
		if mqtt.CheckFilter(filter) != nil {
			return
		}
		r := rand.New(rand.NewPCG(seed, 0))
		index, lasting, fleeting := NewRetained[int](), map[string]bool{}, []string(nil)
		for topic := range strings.Lines(topics) {
			topic = strings.TrimSuffix(topic, "\n")
			if mqtt.CheckTopicName(topic) != nil {
				continue
			}
			if _, had := index.Set(topic, 0, 1); !had && r.IntN(3) == 0 {
				fleeting = append(fleeting, topic)
			} else if !had {
				lasting[topic] = true
			}
		}
		c, seen := index.Cursor(filter, 1), map[string]bool{}
		for done := false; !done; {
			done = c.Next(1+r.IntN(3), func(topic string, _ int) bool {
				if seen[topic] || !mqtt.Match(filter, topic) {
					t.Fatalf("filter %q visits %q (before: %v)", filter, topic, seen[topic])
				}
				seen[topic] = true
				return r.IntN(4) > 0
			})
			for _, topic := range fleeting {
				if r.IntN(2) == 0 {
					index.Delete(topic)
				} else {
					index.Set(topic, 0, 1)
				}
			}
		}
		for topic := range lasting {
			if seen[topic] != mqtt.Match(filter, topic) {
				t.Fatalf("filter %q, topic %q: visited %v", filter, topic, seen[topic])
			}
		}
		index.tree.check(t)
	})
}
