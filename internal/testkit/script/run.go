package script

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/midgemq/midge/internal/testkit/rawmqtt"
	"github.com/midgemq/midge/internal/testkit/target"
)

// Options of a run.
type Options struct {
	Wait time.Duration // how long an expected packet may take, 0 for 5 s
	Dir  string        // scratch directory of the broker
	// Foreign relaxes what only this broker promises: DISCONNECT packets before a
	// close are optional and breaches of the standard are logged instead of fatal.
	Foreign bool
}

// maxLog is how many lines of the conversation a failure shows.
const maxLog = 60

// Run starts a broker with make and runs s as protocol version v against it. The
// error of a script that fails names file, line and the conversation so far.
func (s *Script) Run(v byte, start target.Factory, o Options) error {
	if o.Wait == 0 {
		o.Wait = 5 * time.Second
	}
	cfg, err := s.brokerConfig(o.Dir)
	if err != nil {
		return err
	}
	tgt, err := start(cfg)
	if err != nil {
		return fmt.Errorf("%s:%d: %s: start the broker: %w", s.File, s.Line, s.Name, err)
	}
	r := &runner{
		s: s, o: o, tgt: tgt, clients: map[string]*client{}, line: s.Line,
		env: &env{version: v, target: tgt.Name(), vars: map[string]string{}, foreign: o.Foreign},
	}
	err = r.run()
	for _, c := range r.order {
		if !c.gone {
			_ = c.pipe.Close()
		}
	}
	if cerr := tgt.Close(); cerr != nil && err == nil {
		err = fmt.Errorf("stop the broker: %w", cerr)
	}
	if err != nil {
		log := r.logged[max(0, len(r.logged)-maxLog):]
		return fmt.Errorf("%s:%d: %s: %w\n    %s", s.File, r.line, s.Name, err, strings.Join(log, "\n    "))
	}
	return nil
}

// brokerConfig splits the config lines into those for the broker and those for
// the test authentication.
func (s *Script) brokerConfig(dir string) (target.Config, error) {
	cfg := target.Config{Dir: dir}
	for _, line := range s.Config {
		words, err := configWords(line)
		if err != nil {
			return cfg, fmt.Errorf("%s:%d: %s: config: %w", s.File, s.Line, s.Name, err)
		}
		if len(words) > 1 && words[0] == "test_option" {
			if cfg.Options == nil {
				cfg.Options = map[string]string{}
			}
			cfg.Options[words[1]] = strings.Join(words[2:], " ")
			continue
		}
		if len(words) > 0 && words[0] == "test_auth" {
			if err := cfg.Auth.Add(words[1:]); err != nil {
				return cfg, fmt.Errorf("%s:%d: %s: %w", s.File, s.Line, s.Name, err)
			}
			continue
		}
		cfg.Lines = append(cfg.Lines, line)
	}
	return cfg, nil
}

func configWords(line string) ([]string, error) {
	words, err := lex(line, 0)
	var out []string
	for _, w := range words {
		if w.stop == 0 {
			v, _, err := unquote(w.src)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
	}
	return out, err
}

type runner struct {
	*env
	s       *Script
	o       Options
	tgt     target.Target
	clients map[string]*client
	order   []*client // in order of their first declaration
	line    int
	logged  []string
}

func (r *runner) log(f string, a ...any) {
	r.logged = append(r.logged, fmt.Sprintf("%4d  ", r.line)+fmt.Sprintf(f, a...))
	if len(r.logged) > 4*maxLog {
		r.logged = append(r.logged[:0:0], r.logged[len(r.logged)-maxLog:]...)
	}
}

func (r *runner) run() error {
	if r.s.Watch {
		if err := r.startWatch(); err != nil {
			return fmt.Errorf("watcher: %w", err)
		}
	}
	if err := r.block(r.s.body); err != nil {
		return err
	}
	if !r.s.Epilogue {
		return nil
	}
	if err := r.epilogue(); err != nil {
		return fmt.Errorf("epilogue: %w", err)
	}
	return nil
}

// startWatch connects the client "watch" that sees everything but $ topics.
func (r *runner) startWatch() error {
	if err := r.clientStmt([]word{{value: "watch"}, {value: "connect"}, {name: "id", value: "watch"}}, nil); err != nil {
		return err
	}
	return r.clientStmt([]word{{value: "watch"}, {value: "subscribe"}, {value: "#"}}, nil)
}

// epilogue proves that nobody was sent more than the script expects and that the
// broker still serves.
func (r *runner) epilogue() error {
	for _, c := range r.order {
		if c.gone || !c.online {
			continue
		}
		if err := r.nothing(c); err != nil {
			return err
		}
	}
	return r.strangerPing()
}

// strangerPing connects a client that nobody knows and pings; it also serves as
// a fence for connections that cannot be pinged.
func (r *runner) strangerPing() error {
	if r.tgt.Synchronous() {
		return nil
	}
	pipe, err := r.tgt.Open()
	if err != nil {
		return fmt.Errorf("the broker takes no further connection: %w", err)
	}
	defer pipe.Close()
	return strangerTalk(pipe, r.o.Wait)
}

// strangerTalk only needs some answer to CONNECT: a configuration may refuse
// strangers, which is an answer too.
func strangerTalk(pipe target.Pipe, wait time.Duration) error {
	p := rawmqtt.Packet{Type: rawmqtt.CONNECT, Connect: &rawmqtt.Connect{Name: "MQTT", Level: 4, Clean: true, ClientID: "scriptstranger"}}
	if err := pipe.Send(p.Encode(4)); err != nil {
		return fmt.Errorf("write to the broker as a stranger: %w", err)
	}
	b, err := pipe.Recv(wait)
	if err != nil {
		return fmt.Errorf("the broker does not answer a further client: %w", err)
	}
	if len(b) < 4 || b[0] != rawmqtt.CONNACK<<4 {
		return fmt.Errorf("the broker answers a further client with % X", b)
	}
	if b[3] != 0 {
		return nil
	}
	for range 2 {
		if err := pipe.Send([]byte{rawmqtt.PINGREQ << 4, 0}); err != nil {
			return err
		}
		if _, err := pipe.Recv(wait); err != nil {
			return fmt.Errorf("the broker does not answer a further client's PINGREQ: %w", err)
		}
	}
	return nil
}

// maxLoop bounds repeat.
const maxLoop = 1 << 20

func (r *runner) block(list []*stmt) error {
	for i, st := range list {
		if !r.holds(st.cond) {
			continue
		}
		r.line = st.line
		if err := r.stmt(st, list[i+1:]); err != nil {
			return err
		}
	}
	return nil
}

// stmt runs one statement; after is the rest of its block, which decides
// whether the usual answer is expected by the script itself.
func (r *runner) stmt(st *stmt, after []*stmt) error {
	w := st.words[0]
	args := st.words[1:]
	switch w.value {
	case "repeat":
		return r.repeat(args, st.block)
	case "for":
		return r.forEach(args, st.block)
	case "unordered":
		return r.unordered(st.block)
	case "advance":
		return r.advance(args)
	case "assert":
		return r.assert(args)
	case "broker":
		return r.control(args)
	case "restart":
		return r.restart()
	case "client":
		return r.clientStmt(args, after)
	}
	if len(args) > 0 && args[0].is("<-") {
		return r.expectStmt(w, args[1:])
	}
	if len(args) == 1 && args[0].is("batch") && st.block != nil {
		return r.sendBatch(w, st.block)
	}
	if _, err := r.client(w); err != nil {
		return err
	}
	return r.clientStmt(st.words, after)
}

func (r *runner) client(w word) (*client, error) {
	name, err := r.expand(w.value)
	if err != nil {
		return nil, err
	}
	c := r.clients[name]
	if c == nil {
		return nil, fmt.Errorf("no client %q: declare it with \"client %s connect …\"", name, name)
	}
	return c, nil
}

func (r *runner) repeat(args []word, body []*stmt) error {
	if len(args) == 0 || len(args) > 2 {
		return fmt.Errorf("repeat wants: repeat N [name] { … }")
	}
	n, err := r.number(args[0], maxLoop)
	if err != nil {
		return err
	}
	for i := range int(n) {
		if len(args) == 2 {
			r.vars[args[1].value] = strconv.Itoa(i + 1)
		}
		if err := r.block(body); err != nil {
			return fmt.Errorf("round %d: %w", i+1, err)
		}
	}
	return nil
}

func (r *runner) forEach(args []word, body []*stmt) error {
	if len(args) < 3 || !args[1].is("in") {
		return fmt.Errorf("for wants: for name in value … { … }")
	}
	for _, w := range args[2:] {
		if !r.holds(w.cond) {
			continue
		}
		v, err := r.text(w)
		if err != nil {
			return err
		}
		r.vars[args[0].value] = v
		if err := r.block(body); err != nil {
			return fmt.Errorf("with %s=%s: %w", args[0].value, short(v), err)
		}
	}
	return nil
}

func (r *runner) advance(args []word) error {
	if len(args) != 1 {
		return fmt.Errorf("advance wants a duration")
	}
	s, err := r.expand(args[0].value)
	if err != nil {
		return err
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return fmt.Errorf("advance: duration %q", s)
	}
	// What was sent before must be dealt with at the old time.
	if err := r.fenceDirty(nil); err != nil {
		return err
	}
	r.log("advance %v", d)
	return r.tgt.Advance(d)
}

func (r *runner) assert(args []word) error {
	if len(args) != 3 {
		return fmt.Errorf("assert wants: assert A == B, with ==, !=, <, <=, > or >=")
	}
	a, err := r.text(args[0])
	if err != nil {
		return err
	}
	b, err := r.text(args[2])
	if err != nil {
		return err
	}
	x, errX := strconv.ParseInt(a, 0, 64)
	y, errY := strconv.ParseInt(b, 0, 64)
	var ok bool
	switch op := args[1].value; {
	case op == "==":
		ok = a == b
	case op == "!=":
		ok = a != b
	case errX != nil || errY != nil:
		return fmt.Errorf("assert: %q %s %q compares no numbers", a, op, b)
	case op == "<":
		ok = x < y
	case op == "<=":
		ok = x <= y
	case op == ">":
		ok = x > y
	case op == ">=":
		ok = x >= y
	default:
		return fmt.Errorf("assert: unknown comparison %q", op)
	}
	if !ok {
		return fmt.Errorf("assert: %q %s %q does not hold", a, args[1].value, b)
	}
	return nil
}

func (r *runner) control(args []word) error {
	c, ok := r.tgt.(target.Controller)
	if !ok {
		return fmt.Errorf("broker: %w", target.ErrUnsupported)
	}
	var words []string
	for _, w := range args {
		s, err := r.expand(w.value)
		if err != nil {
			return err
		}
		if w.name != "" {
			s = w.name + "=" + s
		}
		words = append(words, s)
	}
	if err := r.fenceDirty(nil); err != nil {
		return err
	}
	return c.Control(words)
}

func (r *runner) restart() error {
	t, ok := r.tgt.(target.Restarter)
	if !ok {
		return fmt.Errorf("restart: %w", target.ErrUnsupported)
	}
	if err := r.fenceDirty(nil); err != nil {
		return err
	}
	for _, c := range r.order {
		c.gone = true
	}
	return t.Restart()
}
