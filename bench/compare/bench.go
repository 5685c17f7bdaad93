package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/midgemq/midge/internal/testkit/pki"
	"github.com/midgemq/midge/internal/testkit/target"
)

// server is one broker.
type server struct {
	name    string
	command []string
	version string
}

// byPort: the command gets its port in place of {port}, and no configuration.
func (s *server) byPort() bool { return strings.Contains(strings.Join(s.command, " "), "{port}") }

// can tells whether the broker can be configured for a scenario. A window is wide enough without being asked, or the figures say so.
func (s *server) can(n need) bool { return n == plain || n == wideWindow || !s.byPort() }

// bench is the brokers and what they share.
type bench struct {
	o       *options
	servers []*server // midge first
	load    string
	dir     string
	leaf    *pki.Leaf
}

func (b *bench) prepare() error {
	var err error
	if b.dir, err = os.MkdirTemp("", "midge-bench-"); err != nil {
		return err
	}
	ca, err := pki.New(b.dir, "ca")
	if err != nil {
		return err
	}
	b.leaf, err = ca.Server("server")
	return err
}

func (b *bench) close() { _ = os.RemoveAll(b.dir) }

func (b *bench) versions() string {
	var out []string
	for _, s := range b.servers {
		out = append(out, s.name+": "+s.version)
	}
	return "# " + strings.Join(out, "; ")
}

// scenario runs all brokers in turn and returns their samples; a run that failed is nil.
func (b *bench) scenario(ctx context.Context, s scenario) (map[*server][]sample, error) {
	got := map[*server][]sample{}
	for rep := range b.o.reps {
		for _, v := range b.servers {
			if !v.can(s.needs) {
				continue
			}
			m, err := b.once(ctx, s, v, rep)
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if err != nil {
				fmt.Fprintf(os.Stderr, "compare: %s with %s: %v\n", s.name, v.name, err)
			}
			got[v] = append(got[v], m)
		}
	}
	return got, nil
}

// rows are the figures of a scenario beside each peer.
func (b *bench) rows(s scenario, got map[*server][]sample, goals map[goalKey]float64) (out []row) {
	midge := got[b.servers[0]]
	for _, f := range s.figures {
		for _, p := range b.servers[1:] {
			peer, ran := got[p]
			if !ran {
				continue
			}
			r := row{
				Scenario: s.name, Figure: f, Peer: p.name, Reps: b.o.reps, MidgeFaults: faults(midge), PeerFaults: faults(peer),
				MidgeVersion: b.servers[0].version, PeerVersion: p.version, Date: time.Now().UTC().Format(time.DateOnly),
			}
			r.Midge, r.Other, r.Ratio, r.OK = ratios(midge, peer, f)
			if busy, ok := spreadOf(values(midge, "other_cpu_pct")); ok {
				r.Busy = max(0, busy.Median)
			}
			if g := goals[goalKey{s.name, f}]; g > 0 && p.name == "mosquitto" {
				r.Goal = g
				r.Verdict = "no figure"
				if r.OK {
					r.Verdict = verdict(r.Ratio.Median, g, r.MidgeFaults, late(midge, peer))
				}
			}
			out = append(out, r)
		}
	}
	return out
}

// pinned puts taskset before a command.
func pinned(cpu string, command []string) []string {
	if cpu == "" {
		return command
	}
	return append([]string{"taskset", "-c", cpu}, command...)
}

const (
	loadLimit  = 3 * time.Minute  // a run of the load
	startLimit = 10 * time.Second // until a broker listens
	stopLimit  = 10 * time.Second
	settle     = 200 * time.Millisecond // after it listens: what a broker does at its start is not measured
)

// once starts one broker, runs the load, and stops the broker.
func (b *bench) once(ctx context.Context, s scenario, v *server, rep int) (sample, error) {
	dir := filepath.Join(b.dir, fmt.Sprintf("%s-%s-%d", s.name, v.name, rep))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	port, err := target.FreePort()
	if err != nil {
		return nil, err
	}
	p, err := b.start(ctx, s, v, dir, port)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	ctx, cancel := context.WithTimeout(ctx, loadLimit)
	defer cancel()
	args := []string{
		b.load, "-addr", fmt.Sprintf("127.0.0.1:%d", port), "-pid", strconv.Itoa(p.cmd.Process.Pid), "-label", v.name,
		"-scenario", s.name, "-rep", strconv.Itoa(rep), "-dur", b.o.dur.String(),
	}
	if b.o.quick {
		args = append(args, quickFlags...)
	} else {
		args = append(args, "-warm", "600ms")
	}
	args = pinned(b.o.loadCPU, args)
	load := exec.CommandContext(ctx, args[0], args[1:]...)
	var out, problems bytes.Buffer
	load.Stdout, load.Stderr = &out, &problems
	if err := load.Run(); err != nil {
		return nil, fmt.Errorf("load: %w: %s", err, strings.TrimSpace(problems.String()))
	}
	return parseSample(out.Bytes())
}

// parseSample takes the numbers of the load's line.
func parseSample(line []byte) (sample, error) {
	var all map[string]any
	if err := json.Unmarshal(line, &all); err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	s := sample{}
	for k, v := range all {
		if n, ok := v.(float64); ok {
			s[k] = n
		}
	}
	return s, nil
}

// configuration is the mosquitto.conf of a scenario. spare is a port that is not measured.
func (b *bench) configuration(n need, dir string, port, spare int) string {
	conf := fmt.Sprintf("listener %d 127.0.0.1\n", port)
	if n == websocket {
		// Mosquitto 2.0 ends when it has nothing but a WebSocket listener, and binds that to all addresses unless told IPv4.
		conf = fmt.Sprintf("listener %d 127.0.0.1\nlistener %d 127.0.0.1\nsocket_domain ipv4\nprotocol websockets\n", spare, port)
	}
	conf += "allow_anonymous true\nlog_type none\nset_tcp_nodelay true\nmax_queued_messages 0\n"
	if n != plain && os.Geteuid() == 0 {
		conf += "user root\n" // or it would become a user who cannot read the key or write the store
	}
	switch n {
	case secure:
		conf += "certfile " + b.leaf.CertFile + "\nkeyfile " + b.leaf.KeyFile + "\n"
	case wideWindow:
		conf += "max_inflight_messages 1000\n"
	case persistence:
		return conf + "persistence true\npersistence_location " + dir + "/\nmax_inflight_messages 1000\n"
	case plain, websocket:
	}
	return conf + "persistence false\n"
}

// running is a broker's process.
type running struct {
	cmd   *exec.Cmd
	log   bytes.Buffer // readable once it has ended
	ended chan struct{}
}

func (b *bench) start(ctx context.Context, s scenario, v *server, dir string, port int) (*running, error) {
	var args []string
	for _, a := range v.command {
		args = append(args, strings.ReplaceAll(a, "{port}", strconv.Itoa(port)))
	}
	if !v.byPort() {
		spare, err := target.FreePort()
		if err != nil {
			return nil, err
		}
		conf := filepath.Join(dir, "broker.conf")
		if err := os.WriteFile(conf, []byte(b.configuration(s.needs, dir, port, spare)), 0o600); err != nil {
			return nil, err
		}
		args = append(args, "-c", conf)
	}
	if path, err := exec.LookPath(args[0]); err == nil {
		if args[0], err = filepath.Abs(path); err != nil { // it runs in its own directory
			return nil, err
		}
	}
	args = pinned(b.o.brokerCPU, args)
	p := &running{cmd: exec.Command(args[0], args[1:]...), ended: make(chan struct{})}
	p.cmd.Dir = dir
	p.cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+dir) // midge's control socket stays out of the way of a midge that runs
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start: %w", err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // how it ends does not matter, what it wrote does
	}()
	for end := time.Now().Add(startLimit); time.Now().Before(end) && ctx.Err() == nil && !p.gone(); time.Sleep(20 * time.Millisecond) {
		c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), time.Second)
		if err == nil {
			_ = c.Close()
			time.Sleep(settle)
			return p, nil
		}
	}
	p.stop()
	return nil, fmt.Errorf("start: does not listen: %s", strings.TrimSpace(p.log.String()))
}

func (p *running) gone() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// stop ends a broker in an orderly way if it can.
func (p *running) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(stopLimit):
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
}

// firstLine is the first line that a program prints, whatever its exit status.
func firstLine(program string, args ...string) string {
	out, _ := exec.Command(program, args...).CombinedOutput()
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line)
}

// thisMachine describes what figures depend on. A table has one such line.
func thisMachine(o *options) string {
	model := "unknown processor"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for l := range strings.Lines(string(b)) {
			if k, v, ok := strings.Cut(l, ":"); ok && strings.TrimSpace(k) == "model name" {
				model = strings.TrimSpace(v)
				break
			}
		}
	}
	kernel := "unknown kernel"
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		kernel = "Linux " + strings.TrimSpace(string(b))
	}
	where := "not pinned"
	if o.brokerCPU != "" || o.loadCPU != "" {
		where = fmt.Sprintf("brokers on CPU %s, load on CPU %s", o.brokerCPU, o.loadCPU)
	}
	return fmt.Sprintf("%s, %d cores, %s, %s, %s, %v each", model, runtime.NumCPU(), kernel, runtime.Version(), where, o.dur)
}
