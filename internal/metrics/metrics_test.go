package metrics

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

var start = time.Date(2026, 1, 1, 0, 0, 3, 0, time.UTC)

// text renders messages as lines without the common prefix.
func text(list []SysMessage) []string {
	var out []string
	for _, m := range list {
		out = append(out, strings.TrimPrefix(m.Topic, SysPrefix)+" = "+string(m.Payload))
	}
	return out
}

func figures(lines []string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(s string) bool { return strings.HasPrefix(s, "load/") })
}

func loads(lines []string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(s string) bool { return !strings.HasPrefix(s, "load/") })
}

// TestTopics holds the list of the topics that Mosquitto 2.1 publishes.
func TestTopics(t *testing.T) {
	want := strings.Fields(`version uptime clients/total clients/maximum clients/connected clients/active clients/disconnected
		clients/inactive clients/expired messages/stored store/messages/count store/messages/bytes store/acknowledged_not_durable store/down
		store/queued/bytes store/lost subscriptions/count
		shared_subscriptions/count retained_messages/count heap/current heap/maximum messages/received messages/sent
		bytes/received bytes/sent publish/bytes/received publish/bytes/sent packet/out/count packet/out/bytes
		connections/socket/count publish/messages/dropped publish/messages/received publish/messages/sent`)
	for _, l := range strings.Fields(`messages/received messages/sent publish/dropped publish/received publish/sent
		bytes/received bytes/sent sockets connections`) {
		for _, p := range []string{"1min", "5min", "15min"} {
			want = append(want, "load/"+l+"/"+p)
		}
	}
	for i, w := range want {
		if w == "retained_messages/count" {
			want[i] = "retained messages/count"
		}
	}
	s := Snapshot{ClientsTotal: 10, HeapBytes: 10}
	var got []string
	for _, m := range NewSysTree("v", 10, start).First(s, start) {
		got = append(got, strings.TrimPrefix(m.Topic, SysPrefix))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("topics\n%q\nwant\n%q", got, want)
	}
}

func TestFirstUpdate(t *testing.T) {
	tree := NewSysTree("mosquitto version 1", 10, start)
	got := text(tree.First(Snapshot{ClientsTotal: 1, Subscriptions: 1, Retained: 7, ClientsConnected: 0, StoreLost: 1, StorageDown: 1}, start))
	if want := []string{"version = mosquitto version 1", "uptime = 0 seconds"}; !slices.Equal(got[:2], want) {
		t.Errorf("begins with %q", got[:2])
	}
	for _, present := range []string{
		"retained messages/count = 7", "clients/connected = 0", "clients/active = 0", "messages/received = 0",
		"load/sockets/1min = 0.00", "load/connections/15min = 0.00",
		"store/lost = 1", "store/down = 1", "store/queued/bytes = 0",
	} {
		if !slices.Contains(got, present) {
			t.Errorf("%q is missing in %q", present, got)
		}
	}
	for _, absent := range []string{"clients/total", "clients/maximum", "subscriptions/count", "heap/maximum", "clients/disconnected"} {
		for _, line := range got {
			if strings.HasPrefix(line, absent+" ") {
				t.Errorf("%q was published although it is 1 or a maximum of at most 1", line)
			}
		}
	}
	if n := len(loads(got)); n != 27 {
		t.Errorf("%d averages, want 27", n)
	}
}

func TestOnlyChangesArePublished(t *testing.T) {
	tree := NewSysTree("v", 10, start)
	s := Snapshot{ClientsTotal: 3, ClientsConnected: 2, HeapBytes: 50}
	tree.First(s, start)
	step := func(want ...string) {
		t.Helper()

		now := start.Add(10 * time.Second)
		if got := figures(text(tree.Update(s, now))); !slices.Equal(got, append([]string{"uptime = 10 seconds"}, want...)) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	step()
	s.ClientsTotal, s.HeapBytes = 2, 40
	step("clients/total = 2", "clients/disconnected = 0", "clients/inactive = 0", "heap/current = 40")
	s.ClientsTotal, s.HeapBytes = 5, 60
	step("clients/total = 5", "clients/maximum = 5", "clients/disconnected = 3", "clients/inactive = 3", "heap/current = 60", "heap/maximum = 60")
	s.ClientsConnected = 9
	step("clients/connected = 9", "clients/active = 9", "clients/disconnected = 0", "clients/inactive = 0")
	s.PacketsReceived, s.Retained = 4, 2
	step("retained messages/count = 2", "messages/received = 4")
	s.StoredMessages, s.StoredBytes = 3, 30
	step("messages/stored = 3", "store/messages/count = 3", "store/messages/bytes = 30")
}

func TestMaximumNeedsMoreThanOne(t *testing.T) {
	tree := NewSysTree("v", 10, start)
	tree.First(Snapshot{}, start)
	for _, tc := range []struct {
		total int64
		want  bool
	}{{1, false}, {2, true}, {1, false}, {2, false}, {3, true}} {
		got := text(tree.Update(Snapshot{ClientsTotal: tc.total}, start.Add(time.Minute)))
		if has := slices.Contains(got, fmt.Sprintf("clients/maximum = %d", tc.total)); has != tc.want {
			t.Errorf("total %d: maximum published: %v, want %v", tc.total, has, tc.want)
		}
	}
}

func TestSchedule(t *testing.T) {
	at := func(sec int64) time.Time { return time.Unix(sec, 500) }
	tree := NewSysTree("v", 10, at(1003))
	tree.First(Snapshot{}, at(1003))
	for _, tc := range []struct {
		sec  int64
		want bool
	}{{1003, false}, {1009, false}, {1010, true}, {1011, false}, {1020, true}} {
		if got := tree.Due(at(tc.sec)); got != tc.want {
			t.Errorf("due at %d: %v", tc.sec, got)
		}
	}
	tree.Update(Snapshot{}, at(1010))
	if tree.Due(at(1010)) {
		t.Error("due twice in one second")
	}
	if d, ok := tree.Next(time.Unix(1010, 250_000_000)); !ok || d != 9750*time.Millisecond {
		t.Errorf("next in %v, %v", d, ok)
	}
	tree.SetInterval(7)
	if !tree.Due(at(1015)) || tree.Due(at(1020)) {
		t.Error("the new interval is not in force")
	}
	// A start exactly on a multiple is served by the first update.
	tree = NewSysTree("v", 10, at(1000))
	tree.First(Snapshot{}, at(1000))
	if tree.Due(at(1000)) {
		t.Error("due in the second of the first update")
	}
}

func TestIntervalZeroPublishesNothing(t *testing.T) {
	tree := NewSysTree("v", 0, start)
	if got := tree.First(Snapshot{Retained: 5}, start); got != nil {
		t.Errorf("first update %q", text(got))
	}
	if got := tree.Update(Snapshot{Retained: 6}, start); got != nil {
		t.Errorf("update %q", text(got))
	}
	if _, ok := tree.Next(start); ok || tree.Due(time.Unix(0, 0)) {
		t.Error("something is due")
	}
}

func TestLoads(t *testing.T) {
	tree := NewSysTree("v", 10, start)
	tree.First(Snapshot{PacketsReceived: 100}, start)
	now := start.Add(10 * time.Second)
	got := loads(text(tree.Update(Snapshot{PacketsReceived: 200}, now)))
	rate := 600.0
	var want []string
	load := map[string]float64{}
	for _, p := range loadPeriods {
		load[p.name] = rate + math.Exp(-10/p.seconds)*(0-rate)
		want = append(want, fmt.Sprintf("load/messages/received/%s = %.2f", p.name, load[p.name]))
	}
	if !slices.Equal(got, want) || want[0] != "load/messages/received/1min = 92.11" {
		t.Errorf("got %q, want %q", got, want)
	}

	// Whole seconds count: 10.9 s are 10.
	now = now.Add(10900 * time.Millisecond)
	got = loads(text(tree.Update(Snapshot{PacketsReceived: 200}, now)))
	want = nil
	for _, p := range loadPeriods {
		load[p.name] *= math.Exp(-10 / p.seconds)
		want = append(want, fmt.Sprintf("load/messages/received/%s = %.2f", p.name, load[p.name]))
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}

	// Within the same second nothing moves and the base stays.
	if got := loads(text(tree.Update(Snapshot{PacketsReceived: 900}, now.Add(900*time.Millisecond)))); len(got) != 0 {
		t.Errorf("moved without time: %q", got)
	}
	if got := loads(text(tree.Update(Snapshot{PacketsReceived: 900}, now.Add(time.Second)))); len(got) != 3 {
		t.Errorf("the 700 packets are lost: %q", got)
	}
}

func TestSlowDriftOfALoadIsNotPublished(t *testing.T) {
	tree := NewSysTree("v", 1, start)
	tree.First(Snapshot{}, start)
	tree.Update(Snapshot{Sockets: 1}, start.Add(time.Second)) // 60 a minute
	now := start.Add(time.Second)
	published := 0
	for range 4000 {
		now = now.Add(time.Second)
		for _, line := range loads(text(tree.Update(Snapshot{Sockets: 1}, now))) {
			if strings.HasPrefix(line, "load/sockets/15min") {
				published++
			}
		}
	}
	// 60*(1-exp(-1/900)) = 0.067; it loses less than 0.01 a second at once.
	if published != 0 {
		t.Errorf("%d messages for steps below 0.01", published)
	}
}

func TestFieldsAreNamedOnce(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range Fields() {
		if f.Name == "" || f.Help == "" || !strings.HasSuffix(f.Help, ".") {
			t.Errorf("field %d: name %q, help %q", f.index, f.Name, f.Help)
		}
		if f.Counter != strings.HasSuffix(f.Name, "_total") {
			t.Errorf("%s: counter %v", f.Name, f.Counter)
		}
		if seen[f.Name] {
			t.Errorf("%s twice", f.Name)
		}
		seen[f.Name] = true
	}
	if got := reflect.TypeFor[Snapshot]().NumField(); got != len(Fields()) {
		t.Errorf("%d fields of %d", len(Fields()), got)
	}
}

func TestAdd(t *testing.T) {
	a, b := Snapshot{BytesSent: 2, Connects: 5}, Snapshot{BytesSent: 3, ClientsTotal: 1}
	a.Add(&b)
	if want := (Snapshot{BytesSent: 5, Connects: 5, ClientsTotal: 1}); a != want {
		t.Errorf("got %+v", a)
	}
	if i := slices.IndexFunc(Fields(), func(f Field) bool { return f.Name == "sent_bytes_total" }); Fields()[i].Value(&a) != 5 {
		t.Errorf("value %d", Fields()[i].Value(&a))
	}
}

func TestMap(t *testing.T) {
	s := Snapshot{Sockets: 4, ClientsTotal: 5, ClientsConnected: 2}
	m := s.Map()
	if m["sockets_total"] != 4 || m["clients_disconnected"] != 3 || len(m) != len(Fields())-2 {
		t.Errorf("got %v", m)
	}
	if _, ok := m["clients_maximum"]; ok {
		t.Error("the maximum is not known outside $SYS")
	}
}
