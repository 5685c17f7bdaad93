package main

// scenario is one of bench/load's, with the figures that the table keeps of it.
type scenario struct {
	name    string
	figures []string
	needs   need
}

// need is what a scenario wants in the broker's configuration.
type need byte

const (
	plain      need = iota
	wideWindow      // the receivers' windows must not decide
	secure
	websocket
	persistence
)

var (
	flow  = []string{"cpu_us_per_msg", "msg_per_s", "p99_us"}
	fixed = []string{"cpu_us_per_msg", "p99_us"} // at a rate that the load sets
	storm = []string{"cpu_us_per_connect", "connect_s", "connect_p99_ms", "p99_us", "peak_bytes_per_conn"}
)

var scenarios = []scenario{
	{"p2p-qos0", flow, plain},
	{"p2p-qos0-w1", flow, plain},
	{"fanin-qos0", flow, plain},
	{"fanout-qos0", flow, plain},
	{"fanout-qos0-w1", flow, plain},
	{"p2p-qos1", flow, plain},
	{"p2p-qos2", flow, plain},
	{"wild", []string{"cpu_us_per_pub", "sub_rss_bytes", "subscribe_us"}, plain},
	{"latency", fixed, plain},
	{"slow", fixed, plain},
	{"retained", []string{"cpu_us_per_msg", "retain_set_cpu_us", "retain_rss_bytes", "retained_ms"}, plain},
	{"large", []string{"cpu_us_per_mb", "mb_per_s"}, plain},
	{"idle", []string{"rss_bytes_per_conn", "cpu_us_per_connect"}, plain},
	{"tls", flow, secure},
	{"ws", flow, websocket},
	{"v5-alias", flow, plain},
	{"shared", flow, wideWindow},
	{"durable", flow, persistence},
	{"mixed", []string{"cpu_us_per_msg", "p99_us", "rss_bytes_per_conn"}, plain},
	{"storm", storm, plain},
	{"storm-tls", storm, secure},
}

// more is better in these; in all others less is.
var more = map[string]bool{"msg_per_s": true, "mb_per_s": true}

// clocked figures depend on who else wants the processor.
var clocked = []string{"msg_per_s", "mb_per_s", "p99_us", "connect_s", "connect_p99_ms", "retained_ms"}

// quickFlags make a scenario small enough for a smoke test.
var quickFlags = []string{
	"-warm", "200ms", "-clients", "500", "-idle", "1000", "-retained", "10000", "-sensors", "1000", "-fan-pubs", "100", "-fan-subs", "100",
}

func names() (out []string) {
	for _, s := range scenarios {
		out = append(out, s.name)
	}
	return out
}
