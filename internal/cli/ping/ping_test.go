package ping

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/midgemq/midge/internal/cli/reach"
	"github.com/midgemq/midge/mqtt"
)

func call(args ...string) (status int, stdout, stderr string) {
	var out, errs bytes.Buffer
	status = Run(&reach.Env{Context: context.Background(), Program: "midge ping", Stdout: &out, Stderr: &errs}, args)
	return status, out.String(), errs.String()
}

func TestArguments(t *testing.T) {
	o, _, err := parse(strings.Fields("-b h -p 5 -t a/b -c 3 -d 0.5 -u anna -P x -s 100 --qos 0,2"))
	if err != nil {
		t.Fatal(err)
	}
	if o.conn.URL() != "mqtt://h:5" || o.topic != "a/b" || o.count != 3 || o.interval.Seconds() != 0.5 || o.conn.User != "anna" || *o.conn.Password != "x" || o.size != 100 {
		t.Errorf("%+v", o)
	}
	if fmt.Sprint(o.qos) != fmt.Sprint([]mqtt.QoS{0, 2}) {
		t.Errorf("QoS %v", o.qos)
	}
	for _, tt := range []struct{ args, says string }{
		{"-c 0", "--count"},
		{"-s 1", "--size"},
		{"-q 0,3", "--qos"},
		{"-q 0,", "--qos"},
		{"-q 01", "--qos"},
		{"-t a/#", "wildcard"},
		{"a b", "unexpected"},
		{"ftp://x", "scheme"},
		{"-d x", "--interval"},
	} {
		if status, out, errs := call(strings.Fields(tt.args)...); status != ExitUsage || !strings.Contains(errs, tt.says) || out != "" {
			t.Errorf("%s: status %d, %q, %q", tt.args, status, out, errs)
		}
	}
	if status, out, _ := call("--help"); status != ExitOK || !strings.Contains(out, "--interval") {
		t.Errorf("help: status %d\n%s", status, out)
	}
}

func TestExit(t *testing.T) {
	o := defaults()
	for _, tt := range []struct {
		results []result
		want    int
	}{
		{[]result{{connected: true, Trip: 1}, {connected: true, Trip: 2}}, ExitOK},
		{[]result{{connected: true, Trip: 1}, {connected: true, Error: "late"}}, ExitLoss},
		{[]result{{Error: "refused"}, {connected: true, Trip: 2}}, ExitLoss},
		{[]result{{connected: true, Error: "late"}}, ExitLoss},
		{[]result{{Error: "refused"}}, ExitNoConnection},
		{nil, ExitNoConnection},
	} {
		tl := newTally(o)
		for i := range tt.results {
			tl.add(&tt.results[i])
		}
		if got := tl.exit(); got != tt.want {
			t.Errorf("%+v: status %d, want %d", tt.results, got, tt.want)
		}
	}
}

func TestFigures(t *testing.T) {
	var s series
	if s.figures() != nil {
		t.Error("figures of nothing")
	}
	for i := 1; i <= 1000; i++ {
		s.add(float64(i) / 10)
	}
	f := s.figures()
	if f.Min != 0.1 || f.Max != 100 || f.Avg < 50 || f.Avg > 50.1 || f.P99 < 98.9 || f.P99 > 99.2 {
		t.Errorf("%+v", f)
	}
}

func TestSummaryText(t *testing.T) {
	o := defaults()
	tl := newTally(o)
	tl.add(&result{connected: true, Trip: 1.5, Steps: &stepTimes{DNS: 0.25, TCP: 1, Connect: 2, Subscribe: 3}})
	tl.add(&result{connected: true, Error: "late"})
	var b bytes.Buffer
	tl.show(&b)
	for _, want := range []string{"2 probes, 1 answered, 50.0 % lost", "dns            0.250     0.250     0.250     0.250", "trip           1.500"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "tls") {
		t.Errorf("TLS in\n%s", b.String())
	}
}
