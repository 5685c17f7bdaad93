package bench

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// result is what a run, or several of them together, measured. Its JSON form is what merge reads.
type result struct {
	Label       string  `json:"label,omitempty"`
	Broker      string  `json:"broker"`
	Scenario    string  `json:"scenario"`
	Publishers  int     `json:"publishers"`
	Subscribers int     `json:"subscribers"`
	QoS         int     `json:"qos"`
	Size        int     `json:"payload_bytes"`
	Version     string  `json:"protocol"`
	Parts       int     `json:"parts"`
	Seconds     float64 `json:"seconds"`

	Published    uint64  `json:"published"`
	Delivered    uint64  `json:"delivered"`
	PublishedPer float64 `json:"published_per_s"`
	DeliveredPer float64 `json:"delivered_per_s"`

	Lost        uint64 `json:"lost"`
	OutOfOrder  uint64 `json:"out_of_order"`
	Duplicates  uint64 `json:"duplicates"`
	Redelivered uint64 `json:"redelivered"` // marked as such by the broker, QoS 1 after a reconnection
	Refused     uint64 `json:"refused"`
	Stalls      uint64 `json:"stalls"`
	LostConns   uint64 `json:"lost_connections"`
	Foreign     uint64 `json:"foreign"` // messages that no bench published

	OwnCPU     float64            `json:"own_cpu_us_per_msg"`
	OwnCores   float64            `json:"own_cpu_cores"`
	BrokerCPU  float64            `json:"broker_cpu_us_per_msg,omitempty"`
	BrokerPct  float64            `json:"broker_cpu_cores,omitempty"`
	BrokerRSS  int64              `json:"broker_rss_bytes,omitempty"`
	Latency    *quantiles         `json:"latency,omitempty"`
	Connect    *quantiles         `json:"connect,omitempty"`
	Extra      map[string]float64 `json:"extra,omitempty"`
	Rates      []rate             `json:"rates,omitempty"`
	Notes      []string           `json:"notes,omitempty"`
	LatencyHDR string             `json:"latency_hdr,omitempty"`
	ConnectHDR string             `json:"connect_hdr,omitempty"`
}

// quantiles are quantiles in microseconds.
type quantiles struct {
	Count int64   `json:"count"`
	Min   int64   `json:"min_us"`
	Mean  float64 `json:"mean_us"`
	P50   int64   `json:"p50_us"`
	P90   int64   `json:"p90_us"`
	P99   int64   `json:"p99_us"`
	P999  int64   `json:"p999_us"`
	Max   int64   `json:"max_us"`
}

func quantilesOf(h *hdrhistogram.Histogram) *quantiles {
	if h.TotalCount() == 0 {
		return nil
	}
	q := func(v float64) int64 { return h.ValueAtQuantile(v) }
	return &quantiles{h.TotalCount(), h.Min(), h.Mean(), q(50), q(90), q(99), q(99.9), h.Max()}
}

func pack(h *hdrhistogram.Histogram) string {
	b, err := h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		return ""
	}
	return string(b)
}

// result sums a finished run up.
func (r *run) result() *result {
	o := r.o
	res := &result{
		Label: o.label, Broker: o.conn.URL(), Scenario: o.scenario.name, Publishers: len(r.publishers), Subscribers: len(r.receivers),
		QoS: int(o.qos), Size: o.size, Version: o.conn.Version.String(), Parts: 1, Seconds: r.end.at.Sub(r.begin.at).Seconds(),
		Published: r.published.Load(), Delivered: r.delivered.Load(), Redelivered: r.redelivered.Load(), Refused: r.refused.Load(),
		Stalls: r.stalls.Load(), LostConns: r.lostConns.Load(), Foreign: r.foreign.Load(), Extra: r.extra, Rates: r.rates, Notes: r.notes,
	}
	if o.scenario.name == "conn" {
		res.Publishers, res.Subscribers = 0, 0
		r.extra["connections"] = float64(len(r.wires))
	}
	published, delivered := r.end.published-r.begin.published, r.end.delivered-r.begin.delivered
	if res.Seconds > 0 {
		res.PublishedPer, res.DeliveredPer = float64(published)/res.Seconds, float64(delivered)/res.Seconds
		res.OwnCores = (r.end.own - r.begin.own).Seconds() / res.Seconds
	}
	per := max(published, delivered)
	if o.scenario.name == "conn" {
		per = uint64(len(r.wires))
	}
	if per > 0 {
		res.OwnCPU = float64((r.end.own - r.begin.own).Nanoseconds()) / 1000 / float64(per)
	}
	if r.end.broker.ok && per > 0 {
		cpu := r.end.broker.cpu - r.begin.broker.cpu
		res.BrokerCPU = float64(cpu.Nanoseconds()) / 1000 / float64(per)
		res.BrokerPct = cpu.Seconds() / res.Seconds
		res.BrokerRSS = r.end.broker.rss
	}
	r.faults(res)
	latency := newHist()
	for _, rec := range r.recorders {
		latency.Merge(rec.hist)
	}
	res.Latency, res.LatencyHDR = quantilesOf(latency), pack(latency)
	res.Connect, res.ConnectHDR = quantilesOf(r.connect), pack(r.connect)
	return res
}

// faults adds up what the trackers saw. What a publisher of this process sent is known; of others only gaps can be seen.
func (r *run) faults(res *result) {
	res.Lost, res.Duplicates = uint64(r.extra["missing"]), uint64(r.extra["twice"])
	delete(r.extra, "missing")
	delete(r.extra, "twice")
	for _, s := range r.receivers {
		for _, t := range s.streams {
			res.OutOfOrder += t.outOfOrder
			res.Duplicates += t.duplicates
			if len(s.senders) == 0 {
				res.Lost += t.gaps()
			}
		}
		for i, p := range s.senders {
			if s.expects == nil || !s.expects(i) {
				continue
			}
			sent, got := p.sent.Load(), uint64(0)
			if t := s.streams[stream{r.id, uint32(i)}]; t != nil {
				got = t.unique
			}
			res.Lost += sent - min(got, sent)
		}
	}
}

func (res *result) faulty(lossy bool) bool {
	if lossy {
		return false
	}
	return res.Lost+res.OutOfOrder+res.Duplicates+res.Refused+res.LostConns > 0
}

func (res *result) encode() []byte {
	b, err := json.Marshal(res)
	if err != nil { // NaN cannot be: every division is guarded
		return []byte("{}")
	}
	return b
}

// mergeFiles reads results and adds them up.
func mergeFiles(files []string) (*result, error) {
	var list []*result
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return nil, fmt.Errorf("merge: %w", err)
		}
		var r result
		if err := json.Unmarshal(b, &r); err != nil || r.Scenario == "" {
			return nil, fmt.Errorf("merge: %s is no result of midge bench --json", f)
		}
		list = append(list, &r)
	}
	return merge(list)
}

// merge adds results of one scenario up: counters and rates are summed, histograms joined; what it cost is weighed by messages.
func merge(list []*result) (*result, error) {
	sum := *list[0]
	sum.Extra = maps.Clone(sum.Extra)
	latency, connect := newHist(), newHist()
	weight := func(r *result) float64 { return max(r.PublishedPer, r.DeliveredPer) * r.Seconds }
	own, broker, all := 0.0, 0.0, 0.0
	for i, r := range list {
		if r.Scenario != sum.Scenario || r.QoS != sum.QoS || r.Size != sum.Size {
			return nil, errors.New("merge: the results are of different scenarios, QoS or payload sizes")
		}
		for _, h := range []struct {
			to   *hdrhistogram.Histogram
			from string
		}{{latency, r.LatencyHDR}, {connect, r.ConnectHDR}} {
			if h.from == "" {
				continue
			}
			part, err := hdrhistogram.Decode([]byte(h.from))
			if err != nil {
				return nil, fmt.Errorf("merge: histogram: %w", err)
			}
			h.to.Merge(part)
		}
		w := weight(r)
		own, broker, all = own+w*r.OwnCPU, broker+r.BrokerPct*r.Seconds*1e6, all+w
		if i > 0 {
			sum.add(r)
		}
	}
	if all > 0 {
		sum.OwnCPU = own / all
		if sum.BrokerCPU > 0 { // every part measured the same process
			sum.BrokerCPU = broker / float64(len(list)) / all
		}
	}
	sum.Latency, sum.LatencyHDR = quantilesOf(latency), pack(latency)
	sum.Connect, sum.ConnectHDR = quantilesOf(connect), pack(connect)
	return &sum, nil
}

func (res *result) add(r *result) {
	res.Parts += r.Parts
	res.Publishers += r.Publishers
	res.Subscribers += r.Subscribers
	res.Seconds = max(res.Seconds, r.Seconds)
	for _, p := range []struct {
		to   *uint64
		from uint64
	}{
		{&res.Published, r.Published},
		{&res.Delivered, r.Delivered},
		{&res.Lost, r.Lost},
		{&res.OutOfOrder, r.OutOfOrder},
		{&res.Duplicates, r.Duplicates},
		{&res.Redelivered, r.Redelivered},
		{&res.Refused, r.Refused},
		{&res.Stalls, r.Stalls},
		{&res.LostConns, r.LostConns},
		{&res.Foreign, r.Foreign},
	} {
		*p.to += p.from
	}
	res.PublishedPer += r.PublishedPer
	res.DeliveredPer += r.DeliveredPer
	res.OwnCores += r.OwnCores
	res.BrokerPct = max(res.BrokerPct, r.BrokerPct)
	res.BrokerRSS = max(res.BrokerRSS, r.BrokerRSS)
	for name, v := range r.Extra {
		switch {
		case res.Extra == nil:
			res.Extra = map[string]float64{name: v}
		case strings.HasSuffix(name, "_seconds"):
			res.Extra[name] = max(res.Extra[name], v)
		default:
			res.Extra[name] += v
		}
	}
	for i, v := range r.Rates {
		if i >= len(res.Rates) {
			break
		}
		res.Rates[i].Published += v.Published
		res.Rates[i].Delivered += v.Delivered
	}
	for _, n := range r.Notes {
		if !slices.Contains(res.Notes, n) {
			res.Notes = append(res.Notes, n)
		}
	}
}

// text writes the result for people.
func (res *result) text(w io.Writer) error {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-12s "+format+"\n", append([]any{name}, args...)...)
	}
	if res.Label != "" {
		line("label", "%s", res.Label)
	}
	line("broker", "%s, %s", res.Broker, res.Version)
	line("scenario", "%s, %d publishers, %d subscribers, QoS %d, %d bytes, %.1f s", res.Scenario, res.Publishers, res.Subscribers, res.QoS, res.Size, res.Seconds)
	if res.Parts > 1 {
		line("parts", "%d", res.Parts)
	}
	if res.Scenario != "conn" {
		line("published", "%.0f/s (%d in all)", res.PublishedPer, res.Published)
		line("delivered", "%.0f/s (%d in all)", res.DeliveredPer, res.Delivered)
	}
	for name, q := range map[string]*quantiles{"connect": res.Connect, "latency": res.Latency} {
		if q != nil {
			line(name, "p50 %s  p90 %s  p99 %s  p99.9 %s  max %s", micro(q.P50), micro(q.P90), micro(q.P99), micro(q.P999), micro(q.Max))
		}
	}
	line("faults", "lost %d, out of order %d, duplicates %d, refused %d, stalls %d, connections lost %d",
		res.Lost, res.OutOfOrder, res.Duplicates, res.Refused, res.Stalls, res.LostConns)
	if res.Redelivered+res.Foreign > 0 {
		line("besides", "redelivered %d, from others %d", res.Redelivered, res.Foreign)
	}
	line("own CPU", "%.2f µs per message, %.2f cores", res.OwnCPU, res.OwnCores)
	if res.BrokerCPU > 0 {
		line("broker CPU", "%.2f µs per message, %.2f cores, %.1f MiB resident", res.BrokerCPU, res.BrokerPct, float64(res.BrokerRSS)/(1<<20))
	}
	for _, name := range slices.Sorted(maps.Keys(res.Extra)) {
		line(name, "%.6g", res.Extra[name])
	}
	for _, n := range res.Notes {
		line("note", "%s", n)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func micro(us int64) string {
	switch {
	case us >= 10_000_000:
		return fmt.Sprintf("%.1f s", float64(us)/1e6)
	case us >= 10_000:
		return fmt.Sprintf("%.1f ms", float64(us)/1e3)
	}
	return fmt.Sprintf("%d µs", us)
}

// csv writes a header and one row.
func (res *result) csv(w io.Writer) error {
	l := res.Latency
	if l == nil {
		l = &quantiles{}
	}
	f := func(v float64) string { return strconv.FormatFloat(v, 'f', 3, 64) }
	u := func(v uint64) string { return strconv.FormatUint(v, 10) }
	i := func(v int64) string { return strconv.FormatInt(v, 10) }
	columns := [][2]string{
		{"label", res.Label},
		{"broker", res.Broker},
		{"scenario", res.Scenario},
		{"publishers", strconv.Itoa(res.Publishers)},
		{"subscribers", strconv.Itoa(res.Subscribers)},
		{"qos", strconv.Itoa(res.QoS)},
		{"payload_bytes", strconv.Itoa(res.Size)},
		{"seconds", f(res.Seconds)},
		{"published", u(res.Published)},
		{"delivered", u(res.Delivered)},
		{"published_per_s", f(res.PublishedPer)},
		{"delivered_per_s", f(res.DeliveredPer)},
		{"p50_us", i(l.P50)},
		{"p90_us", i(l.P90)},
		{"p99_us", i(l.P99)},
		{"p999_us", i(l.P999)},
		{"max_us", i(l.Max)},
		{"lost", u(res.Lost)},
		{"out_of_order", u(res.OutOfOrder)},
		{"duplicates", u(res.Duplicates)},
		{"refused", u(res.Refused)},
		{"lost_connections", u(res.LostConns)},
		{"own_cpu_us_per_msg", f(res.OwnCPU)},
		{"broker_cpu_us_per_msg", f(res.BrokerCPU)},
		{"broker_rss_bytes", i(res.BrokerRSS)},
	}
	out := csv.NewWriter(w)
	var head, row []string
	for _, c := range columns {
		head, row = append(head, c[0]), append(row, c[1])
	}
	out.Write(head)
	out.Write(row)
	out.Flush()
	return out.Error()
}
