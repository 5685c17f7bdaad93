package router

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/midgemq/midge/mqtt"
)

// matching gives the subscribers that match, sorted, and after "|" the keys of the groups.
func matching(t *Tree[string], topic string) string {
	var r Result[string]
	t.Match(topic, &r)
	var subs, groups []string
	for _, m := range r.Plain {
		subs = append(subs, m.Sub)
	}
	for _, g := range r.Groups {
		groups = append(groups, g.Key())
	}
	slices.Sort(subs)
	slices.Sort(groups)
	s := strings.Join(subs, " ")
	if len(groups) > 0 {
		s += "|" + strings.Join(groups, " ")
	}
	return s
}

// expect subscribes every filter under its own name and checks, topic by topic, who matches. The retained index must select the
// same: one matcher for both paths.
func expect(t *testing.T, filters []string, want map[string]string) {
	t.Helper()
	tree := New[string]()
	for _, f := range filters {
		if err := mqtt.CheckFilter(f); err != nil {
			t.Fatalf("filter %q: %v", f, err)
		}
		tree.Subscribe(f, f, Options{})
	}
	retained := NewRetained[int]()
	for topic := range want {
		if err := mqtt.CheckTopicName(topic); err != nil {
			t.Fatalf("topic %q: %v", topic, err)
		}
		retained.Set(topic, 1, 1)
	}
	selected := map[string][]string{}
	slices.Sort(filters)
	for _, f := range filters {
		for _, topic := range collect(retained.Cursor(f, 1), 3) {
			selected[topic] = append(selected[topic], f)
		}
	}
	for topic, names := range want {
		if got := matching(tree, topic); got != names {
			t.Errorf("topic %q matches %q, want %q", topic, got, names)
		}
		if got := strings.Join(selected[topic], " "); got != names {
			t.Errorf("retained %q selected by %q, want %q", topic, got, names)
		}
	}
}

// covers: E123 3:U311-4.7.1-1
func TestMatchParentLevel(t *testing.T) {
	expect(t, []string{"sport/#", "sport/+", "sport", "#", "+/#", "sport/tennis/+/#"}, map[string]string{
		"sport":              "# +/# sport sport/#",
		"sport/":             "# +/# sport/# sport/+",
		"sport/x":            "# +/# sport/# sport/+",
		"sport/x/y":          "# +/# sport/#",
		"sport/tennis":       "# +/# sport/# sport/+",
		"sport/tennis/p":     "# +/# sport/# sport/tennis/+/#",
		"sport/tennis/p/q/r": "# +/# sport/# sport/tennis/+/#",
		"sports":             "# +/#",
		"spor":               "# +/#",
		"sport-x/y":          "# +/#",
		"a":                  "# +/#",
		"/":                  "# +/#",
		"sport.":             "# +/#",
		"sport\x7e/tennis/p": "# +/#",
	})
}

// covers: E124 3:U311-4.7.3-1
func TestMatchEmptyLevels(t *testing.T) {
	expect(t, []string{"+", "+/+", "/+", "+/", "/", "a//b", "a/+/b", "//", "+/+/+", "a /b", "/a"}, map[string]string{
		"/a":      "+/+ /+ /a",
		"/":       "+/ +/+ / /+",
		"//":      "+/+/+ //",
		"a":       "+",
		"a/":      "+/ +/+",
		"a//b":    "+/+/+ a/+/b a//b",
		"a/b":     "+/+",
		"a/ /b":   "+/+/+ a/+/b",
		"a /b":    "+/+ a /b",
		"///":     "",
		"a/b/c/d": "",
		"a ":      "+",
	})
}

// covers: E125 3:4.7.2-1 5:4.7.2-1
func TestMatchDollar(t *testing.T) {
	expect(t, []string{"#", "+/x", "+/#", "+", "$SYS/#", "$SYS/+", "a/$b", "a/+", "a/#", "$x/#", "$/x"}, map[string]string{
		"$SYS/x":   "$SYS/# $SYS/+",
		"$SYS":     "$SYS/#",
		"$SYS/x/y": "$SYS/#",
		"$x":       "$x/#",
		"$x/x":     "$x/#",
		"$y/x":     "",
		"$y":       "",
		"$/x":      "$/x",
		"$":        "",
		"a/$b":     "# +/# a/# a/$b a/+",
		"a/$SYS":   "# +/# a/# a/+",
		"/$SYS":    "# +/#",
		"%/x":      "# +/# +/x",
		"x":        "# + +/#",
	})
}

// covers: 3:4.7.3-4 5:4.7.3-4 E115
func TestMatchBytes(t *testing.T) {
	expect(t, []string{"é", "e\u0301", "A", "a", "a//b", "a/b", "a/", "a/#", "\ufeffa"}, map[string]string{
		"é":       "é",
		"e\u0301": "e\u0301",
		"A":       "A",
		"a":       "a a/#",
		"a/":      "a/ a/#",
		"a/b":     "a/# a/b",
		"a//b":    "a/# a//b",
		"\ufeffa": "\ufeffa",
	})
}

// covers: E126 E145 E146
func TestMatchShared(t *testing.T) {
	tree := New[string]()
	for i, f := range []string{"$share/g/#", "$share/g/+/x", "$share/g/a/x", "$share/h/a/x", "$share/g//t", "$share/g/$SYS/x", "$share/g/a/#"} {
		group, inner, shared, err := mqtt.ParseShared(f)
		if !shared || err != nil {
			t.Fatalf("filter %q: shared %v, %v", f, shared, err)
		}
		tree.SubscribeShared(group, inner, fmt.Sprint(i), Options{})
	}
	tree.Subscribe("a/x", "plain", Options{})
	for topic, want := range map[string]string{
		"$SYS/x": "|$share/g/$SYS/x",
		"$SYS/y": "",
		"a/x":    "plain|$share/g/# $share/g/+/x $share/g/a/# $share/g/a/x $share/h/a/x",
		"a":      "|$share/g/# $share/g/a/#",
		"/t":     "|$share/g/# $share/g//t",
		"b/x":    "|$share/g/# $share/g/+/x",
	} {
		if got := matching(tree, topic); got != want {
			t.Errorf("topic %q matches %q, want %q", topic, got, want)
		}
	}
	if plain, shared := tree.Counts(); plain != 1 || shared != 7 {
		t.Errorf("counts %d, %d, want 1, 7", plain, shared)
	}
}

// covers: 3:3.8.4-3 5:3.8.4-3 E137
func TestSubscribeReplaces(t *testing.T) {
	tree := New[int]()
	first := Options{QoS: 2, NoLocal: true, RetainAsPublished: true, ID: 7}
	for _, others := range []int{0, 1, 40} { // alone, in a short list, in an indexed one
		for i := range others {
			tree.Subscribe("a/+", 100+i, Options{})
		}
		if tree.Subscribe("a/+", 1, first) {
			t.Fatal("a new subscription existed")
		}
		gen := tree.Generation()
		if !tree.Subscribe("a/+", 1, first) {
			t.Fatal("the same subscription did not exist")
		}
		if tree.Generation() != gen {
			t.Error("a subscription with the same options changed the generation")
		}
		second := Options{QoS: 1}
		if !tree.Subscribe("a/+", 1, second) || tree.Generation() == gen {
			t.Error("other options were no change")
		}
		var r Result[int]
		tree.Match("a/b", &r)
		n := 0
		for _, m := range r.Plain {
			if m.Sub == 1 {
				n++
				if m.Options != second {
					t.Errorf("options %+v, want %+v", m.Options, second)
				}
			}
		}
		if n != 1 || len(r.Plain) != others+1 {
			t.Errorf("%d entries of %d, want 1 of %d", n, len(r.Plain), others+1)
		}
		tree.Unsubscribe("a/+", 1)
		for i := range others {
			tree.Unsubscribe("a/+", 100+i)
		}
	}
}

// covers: 3:3.10.4-1 5:3.10.4-1 E139
func TestUnsubscribeIsLiteral(t *testing.T) {
	tree := New[int]()
	filters := []string{"a/+", "a/b", "a/#", "#"}
	for _, f := range filters {
		tree.Subscribe(f, 1, Options{})
	}
	tree.SubscribeShared("g", "a/b", 1, Options{})
	for _, f := range []string{"A/b", "a/", "a", "+/b", "+/+", "a/b/#", "x", "a/b/c", "+"} {
		if tree.Unsubscribe(f, 1) || tree.UnsubscribeShared("g", f, 1) {
			t.Errorf("%q was removed", f)
		}
	}
	if tree.Unsubscribe("a/b", 2) || tree.UnsubscribeShared("h", "a/b", 1) || tree.UnsubscribeShared("g", "a/b", 2) {
		t.Error("a subscription of somebody else was removed")
	}
	for i, f := range filters {
		var r Result[int]
		tree.Match("a/b", &r)
		if len(r.Plain) != len(filters)-i || len(r.Groups) != 1 {
			t.Errorf("before removing %q: %d matches and %d groups", f, len(r.Plain), len(r.Groups))
		}
		if !tree.Unsubscribe(f, 1) || tree.Unsubscribe(f, 1) {
			t.Errorf("%q was not removed exactly once", f)
		}
	}
	if !tree.UnsubscribeShared("g", "a/b", 1) || tree.UnsubscribeShared("g", "a/b", 1) {
		t.Error("the membership was not removed exactly once")
	}
	checkEmpty(t, tree)
}

// checkIndex holds the rules of the lists that may be long: an index exactly when it pays, right in every place, and no more room
// than a crowd that has left may leave behind.
func checkIndex[S comparable](t *testing.T, n, room int, at map[S]uint32, sub func(int) S) {
	t.Helper()
	if at == nil && n >= indexFrom || at != nil && n < indexUntil || at != nil && len(at) != n {
		t.Fatalf("index of %d for %d (present: %v)", len(at), n, at != nil)
	}
	for i := range n {
		if at != nil && at[sub(i)] != uint32(i) {
			t.Fatalf("index says %d for place %d", at[sub(i)], i)
		}
	}
	if room > 5*max(n, indexFrom) {
		t.Fatalf("room for %d kept for %d", room, n)
	}
}

func (g *Group[S]) check(t *testing.T) {
	t.Helper()
	checkIndex(t, len(g.members), cap(g.members), g.at, func(i int) S { return g.members[i].Sub })
}

// checkNodes holds the rules of every node's lists.
func checkNodes[S comparable](t *testing.T, tree *Tree[S]) {
	t.Helper()
	for _, chunk := range tree.nodes.chunks {
		for i := range chunk {
			chunk[i].check(t)
		}
	}
	for _, chunk := range tree.exact.filters.chunks {
		for i := range chunk {
			chunk[i].check(t)
		}
	}
}

// check holds the rules of one filter's lists.
func (n *spot[S]) check(t *testing.T) {
	t.Helper()
	e := n.more
	if e == nil {
		return
	}
	if n.single() && len(e.subs) > 0 || len(e.subs) == 1 || len(e.subs)+len(e.groups) == 0 {
		t.Fatalf("a filter has a list of %d and %d groups", len(e.subs), len(e.groups))
	}
	checkIndex(t, len(e.subs), cap(e.subs), e.at, func(i int) S { return e.subs[i].Sub })
	groups := len(e.groups)
	if e.byName == nil && groups >= indexFrom || e.byName != nil && (groups < indexUntil || len(e.byName) != groups) {
		t.Fatalf("%d names for %d groups", len(e.byName), groups)
	}
	if cap(e.groups) > 5*max(groups, indexFrom) {
		t.Fatalf("room for %d kept for %d groups", cap(e.groups), groups)
	}
	for j, g := range e.groups {
		if g.place != j || e.byName != nil && e.byName[g.name()] != g {
			t.Fatalf("group %s is not where it thinks", g.Key())
		}
		g.check(t)
	}
}

// checkEmpty wants nothing left of a tree but its root.
func checkEmpty[S comparable](t *testing.T, tree *Tree[S]) {
	t.Helper()
	if tree.nodes.live != 1 || tree.names.names.live != 0 || tree.exact.filters.live != 0 || !tree.nodes.at(root).bare() {
		t.Errorf("%d nodes, %d names and %d filters left", tree.nodes.live, tree.names.names.live, tree.exact.filters.live)
	}
	for _, table := range []*table{&tree.kids, &tree.names.index, &tree.exact.index} {
		for i := range table.parts {
			if p := &table.parts[i]; p.n != 0 || len(p.slots) > 8 {
				t.Fatalf("hash table part has %d entries in %d slots", p.n, len(p.slots))
			}
		}
	}
	if plain, shared := tree.Counts(); plain != 0 || shared != 0 {
		t.Errorf("counts %d, %d, want none", plain, shared)
	}
}

var alphabet = []string{"", "a", "b", "c", "a-", "dev-1", "$", "$SYS", "é", "0", " "}

func randomTopic(r *rand.Rand) string {
	for {
		parts := make([]string, 1+r.IntN(5))
		for i := range parts {
			parts[i] = alphabet[r.IntN(len(alphabet))]
		}
		if s := strings.Join(parts, "/"); s != "" {
			return s
		}
	}
}

func randomFilter(r *rand.Rand) string {
	parts := strings.Split(randomTopic(r), "/")
	for i := range parts {
		if r.IntN(3) == 0 {
			parts[i] = "+"
		}
	}
	if r.IntN(3) == 0 {
		parts[len(parts)-1] = "#"
	}
	return strings.Join(parts, "/")
}

type subKey struct {
	group, filter string
	sub           int
}

// model is the naive reference: every subscription in one map, mqtt.Match for each.
type model map[subKey]Options

func (m model) match(topic string) (want []string) {
	groups := map[string]bool{}
	for k, o := range m {
		if !mqtt.Match(k.filter, topic) {
			continue
		}
		if k.group == "" {
			want = append(want, fmt.Sprint(k.sub, o))
		} else {
			groups["$share/"+k.group+"/"+k.filter] = true
		}
	}
	for g := range groups {
		want = append(want, g)
	}
	slices.Sort(want)
	return want
}

func flatten(r *Result[int]) (got []string) {
	for _, m := range r.Plain {
		got = append(got, fmt.Sprint(m.Sub, m.Options))
	}
	for _, g := range r.Groups {
		got = append(got, g.Key())
	}
	slices.Sort(got)
	return got
}

// step makes the same random change to tree and model.
func (m model) step(t *testing.T, r *rand.Rand, tree *Tree[int], filters []string, subs int, grow bool) {
	k := subKey{filter: filters[r.IntN(len(filters))], sub: r.IntN(subs)}
	if r.IntN(4) == 0 {
		k.group = fmt.Sprint("g", r.IntN(3))
	}
	o := Options{QoS: mqtt.QoS(r.IntN(3)), ID: uint32(r.IntN(3))}
	_, want := m[k]
	var got bool
	add := r.IntN(10) < 3
	if grow {
		add = r.IntN(10) < 7
	}
	switch {
	case add && k.group == "":
		got = tree.Subscribe(k.filter, k.sub, o)
	case add:
		got = tree.SubscribeShared(k.group, k.filter, k.sub, o)
	case k.group == "":
		got = tree.Unsubscribe(k.filter, k.sub)
	default:
		got = tree.UnsubscribeShared(k.group, k.filter, k.sub)
	}
	if add {
		m[k] = o
	} else {
		delete(m, k)
	}
	if got != want {
		t.Fatalf("%+v (add %v) existed: %v, want %v", k, add, got, want)
	}
}

func TestTreeAgainstReference(t *testing.T) {
	for seed := range uint64(4) {
		r := rand.New(rand.NewPCG(seed, 1))
		tree, m := New[int](), model{}
		caches := []*Cache[int]{NewCache(tree, 20, 1<<20), NewCache(tree, 1000, 1<<20), NewCache(tree, 1000, 3000)}
		filters := make([]string, 150)
		for i := range filters {
			filters[i] = randomFilter(r)
		}
		subs := 3 + 40*int(seed%2) // wide enough for the index
		var res Result[int]
		for step := range 2400 {
			for range 3 {
				m.step(t, r, tree, filters, subs, step/400%2 == 0)
			}
			topic := randomTopic(r)
			want := m.match(topic)
			tree.Match(topic, &res)
			if got := flatten(&res); !slices.Equal(got, want) {
				t.Fatalf("seed %d step %d topic %q: got %v, want %v", seed, step, topic, got, want)
			}
			for i, c := range caches {
				if got := flatten(c.Lookup([]byte(topic))); !slices.Equal(got, want) {
					t.Fatalf("seed %d step %d topic %q cache %d: got %v, want %v", seed, step, topic, i, got, want)
				}
			}
			if step%50 == 0 {
				caches[1].Sweep(30)
				checkNodes(t, tree)
			}
		}
		plain, shared := tree.Counts()
		if plain+shared != len(m) {
			t.Errorf("counts %d + %d, want %d in all", plain, shared, len(m))
		}
		for k := range m {
			if k.group == "" && !tree.Unsubscribe(k.filter, k.sub) || k.group != "" && !tree.UnsubscribeShared(k.group, k.filter, k.sub) {
				t.Fatalf("%+v could not be removed", k)
			}
		}
		checkEmpty(t, tree)
	}
}

// A node with very many subscribers, and one with very many groups, must stay cheap and correct while members come and go.
func TestWideNode(t *testing.T) {
	const n = 20000
	for _, filter := range []string{"a/b", "a/+"} {
		t.Run(filter, func(t *testing.T) { wideNode(t, filter, n) })
	}
}

func wideNode(t *testing.T, filter string, n int) {
	tree := New[int]()
	r := rand.New(rand.NewPCG(1, 2))
	order := r.Perm(n)
	for k, i := range order {
		if k%(n/8) == 0 {
			checkNodes(t, tree)
		}
		tree.Subscribe(filter, i, Options{ID: uint32(i + 1)})
		tree.SubscribeShared(fmt.Sprint("g", i), filter, i, Options{})
	}
	left := map[int]bool{}
	for i := range n {
		left[i] = true
	}
	var res Result[int]
	for round := range 8 {
		tree.Match("a/b", &res)
		if len(res.Plain) != len(left) || len(res.Groups) != len(left) {
			t.Fatalf("round %d: %d matches and %d groups, want %d", round, len(res.Plain), len(res.Groups), len(left))
		}
		for i, m := range res.Plain {
			if !left[m.Sub] || m.ID != uint32(m.Sub+1) {
				t.Fatalf("round %d: wrong match %+v", round, m)
			}
			if round < 7 && i%2 == 0 || round == 7 {
				if !tree.Unsubscribe(filter, m.Sub) || !tree.UnsubscribeShared(fmt.Sprint("g", m.Sub), filter, m.Sub) {
					t.Fatalf("%d could not be removed", m.Sub)
				}
				delete(left, m.Sub)
			}
		}
		checkNodes(t, tree)
	}
	checkEmpty(t, tree)
}

// Lists that grow and shrink across the sizes at which they change their form.
func TestIndexComesAndGoes(t *testing.T) {
	tree := New[int]()
	for round := range 3 {
		for i := range 3 * indexFrom {
			tree.Subscribe("a", i, Options{})
			tree.SubscribeShared("g", "a", i, Options{})
			tree.SubscribeShared(fmt.Sprint("h", i), "a", i, Options{})
			checkNodes(t, tree)
		}
		for i := range 3 * indexFrom {
			if round == 1 {
				i = 3*indexFrom - 1 - i
			}
			if !tree.Unsubscribe("a", i) || !tree.UnsubscribeShared("g", "a", i) || !tree.UnsubscribeShared(fmt.Sprint("h", i), "a", i) {
				t.Fatalf("round %d: %d could not be removed", round, i)
			}
			checkNodes(t, tree)
		}
		checkEmpty(t, tree)
	}
}

// covers: E142
func TestMatchCostIsBounded(t *testing.T) {
	// 4,096 filters of 12 levels, each level "+" or "a", in front of a level that never matches: 2^12 paths, 8,190 nodes.
	tree := New[int]()
	for i := range 1 << 12 {
		var f strings.Builder
		for b := range 12 {
			f.WriteString([]string{"+/", "a/"}[i>>b&1])
		}
		tree.Subscribe(f.String()+"never", i, Options{})
	}
	// And 200 filters of 200 levels with "+" everywhere but in one.
	for i := range 200 {
		parts := slices.Repeat([]string{"+"}, 200)
		parts[i] = "x"
		tree.Subscribe(strings.Join(parts, "/"), i, Options{})
	}
	var r Result[int]
	for _, topic := range []string{
		strings.Repeat("a/", 199) + "a", strings.Repeat("a/", 11) + "a", strings.Repeat("x/", 199) + "x",
		strings.Repeat("/", 200), strings.Repeat("y/", 65535/2),
	} {
		before := 0
		tree.Match(topic, &r)
		if widest := max(cap(r.walk.now), cap(r.walk.next)); widest > 2*(1<<12+200) {
			t.Errorf("topic of %d bytes: frontier of %d nodes", len(topic), widest)
		}
		if strings.HasPrefix(topic, "x/") {
			before = 200
		}
		if len(r.Plain) != before {
			t.Errorf("topic of %d bytes: %d matches, want %d", len(topic), len(r.Plain), before)
		}
	}
	// No recursion: as deep as a topic can be, and the tree is empty again afterwards.
	deep := New[int]()
	filter := strings.Repeat("+/", 32767) + "+"
	deep.Subscribe(filter, 1, Options{})
	deep.Subscribe(strings.Repeat("/", 65535), 2, Options{})
	var dr Result[int]
	if deep.Match(strings.Repeat("a/", 32767)+"a", &dr); len(dr.Plain) != 1 {
		t.Errorf("%d matches, want 1", len(dr.Plain))
	}
	if deep.Match(strings.Repeat("/", 65535), &dr); len(dr.Plain) != 1 {
		t.Errorf("%d matches, want 1", len(dr.Plain))
	}
	deep.Unsubscribe(filter, 1)
	deep.Unsubscribe(strings.Repeat("/", 65535), 2)
	checkEmpty(t, deep)
}

// Names are shared by nodes and live as long as the last of them; the caller's strings are not kept.
func TestNamesAreCountedAndCopied(t *testing.T) {
	tree := New[int]()
	buf := []byte("floor/room")
	for i := range 100 {
		tree.Subscribe(string(buf)+fmt.Sprint(i)+"/floor/+", 1, Options{})
	}
	if n := tree.names.names.live; n != 101 {
		t.Errorf("%d names, want 101", n)
	}
	for i := range 100 {
		tree.Unsubscribe(string(buf)+fmt.Sprint(i)+"/floor/+", 1)
		if n := tree.names.names.live; i < 99 && n != 100-i {
			t.Fatalf("%d names left after %d removals", n, i+1)
		}
	}
	checkEmpty(t, tree)
}

// Memory of a crowd that has left goes back.
func TestSlabGivesBack(t *testing.T) {
	var s slab[[4]uint64]
	ids := map[uint32]bool{}
	for range 10 * chunkLen {
		id := s.alloc()
		if id == 0 || ids[id] {
			t.Fatalf("number %d given twice or reserved", id)
		}
		ids[id] = true
		s.at(id)[0] = uint64(id)
	}
	for id := range ids {
		if s.at(id)[0] != uint64(id) {
			t.Fatalf("item %d was overwritten", id)
		}
		s.release(id)
	}
	checkOneKept(t, &s)
	var again []uint32
	for range 3 * chunkLen {
		id := s.alloc()
		if *s.at(id) != [4]uint64{} {
			t.Fatal("an item was not zero")
		}
		again = append(again, id)
	}
	// Free places in full chunks are used before anything is allocated.
	free := []uint32{again[5], again[chunkLen+7], again[2*chunkLen-1]}
	for _, id := range free {
		s.release(id)
	}
	got := []uint32{s.alloc(), s.alloc(), s.alloc()}
	slices.Sort(free)
	slices.Sort(got)
	if !slices.Equal(got, free) || s.live != 3*chunkLen {
		t.Errorf("places used: %v, want %v; %d items", got, free, s.live)
	}
	for _, id := range again {
		s.release(id)
	}
	checkOneKept(t, &s)
}

func checkOneKept[T any](t *testing.T, s *slab[T]) {
	t.Helper()
	kept := 0
	for _, c := range s.chunks {
		if c != nil {
			kept++
		}
	}
	if kept != 1 || s.live != 0 {
		t.Errorf("%d chunks kept for %d items, want 1 for none", kept, s.live)
	}
}
