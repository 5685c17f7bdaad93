package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/midgemq/midge/mqtt"
)

type fakeBroker struct {
	clients   []Client
	gone      map[string]mqtt.ReasonCode
	reference string
	err       error
	block     chan struct{} // when set, Status waits for it or for ctx
}

func (f *fakeBroker) Status(ctx context.Context) (Status, error) {
	if f.block != nil {
		select {
		case <-f.block:
		case <-ctx.Done():
			return Status{}, ctx.Err()
		}
	}
	return Status{Version: "1", PID: 7, Metrics: map[string]int64{"clients": 2}}, f.err
}

func (f *fakeBroker) Clients(context.Context) ([]Client, error) { return f.clients, f.err }

func (f *fakeBroker) Disconnect(_ context.Context, id string, code mqtt.ReasonCode, reference string) error {
	for _, c := range f.clients {
		if c.ID == id {
			if f.gone == nil {
				f.gone = make(map[string]mqtt.ReasonCode)
			}
			f.gone[id], f.reference = code, reference
			return f.err
		}
	}
	return fmt.Errorf("disconnect %s: %w", id, ErrNoClient)
}

func TestAnswers(t *testing.T) {
	b := &fakeBroker{clients: []Client{{ID: "a", Version: 5}, {ID: "b", Version: 4, Drops: map[string]int64{"queue full": 3}}, {ID: "d", Version: 5}}}
	c := NewCommands(b)
	for _, tc := range []struct{ request, want string }{
		{`{"id":1,"command":"status"}`, `{"id":1,"ok":true,"result":{"version":"1","pid":7,"started":"0001-01-01T00:00:00Z","uptime":0,"loops":0,"listeners":null,"metrics":{"clients":2},"drops":null,"ends":null}}`},
		{`{"id":"x","command":"clients","args":{"id":"b"}}`, `{"id":"x","ok":true,"result":{"clients":[{"id":"b","connected":false,"version":4,"keep_alive":0,"clean":false,"session_expiry":0,"subscriptions":0,"inflight_in":0,"inflight_out":0,"queued":0,"queued_bytes":0,"oldest_age":0,"output_bytes":0,"drops":{"queue full":3}}]}}`},
		{`{"id":4,"command":"sessions","args":{"limit":1}}`, `{"id":4,"ok":true,"result":{"sessions":[{"id":"b","connected":false,"messages":0,"bytes":0,"oldest_age":0,"session_expiry":0,"dropped":3,"drops":{"queue full":3}}],"count":3,"messages":0,"bytes":0}}`},
		{`{"id":5,"command":"sessions","args":{"limit":-1}}`, `{"id":5,"ok":false,"error":{"code":"bad_request","message":"args: limit is negative"}}`},
		{`{"command":"clients","args":{"id":"c"}}`, `{"id":null,"ok":true,"result":{"clients":[]}}`},
		{`{"id":2,"command":"disconnect","args":{"client":"a"}}`, `{"id":2,"ok":true,"result":{}}`},
		{`{"id":3,"command":"disconnect","args":{"client":"b","code":139}}`, `{"id":3,"ok":true,"result":{}}`},
		{`{"id":4,"command":"disconnect","args":{"client":"c"}}`, `{"id":4,"ok":false,"error":{"code":"not_found","message":"disconnect c: no such client is connected"}}`},
		{`{"id":5,"command":"disconnect","args":{"client":"a","code":4}}`, `{"id":5,"ok":false,"error":{"code":"bad_request","message":"args: code 4 is no reason that a server gives in DISCONNECT"}}`},
		{`{"id":5,"command":"disconnect","args":{"client":"a","code":256}}`, `{"id":5,"ok":false,"error":{"code":"bad_request","message":"args: code 256 is no reason that a server gives in DISCONNECT"}}`},
		{`{"id":5,"command":"disconnect","args":{"client":"a","server_reference":"other"}}`, `{"id":5,"ok":false,"error":{"code":"bad_request","message":"args: server_reference goes with the codes 156 and 157 only"}}`},
		{`{"id":5,"command":"disconnect","args":{"client":"a","code":157,"server_reference":"a\u0000b"}}`, `{"id":5,"ok":false,"error":{"code":"bad_request","message":"args: server_reference is no MQTT text"}}`},
		{`{"id":5,"command":"disconnect","args":{"client":"d","code":157,"server_reference":"other:1883"}}`, `{"id":5,"ok":true,"result":{}}`},
		{`{"id":6,"command":"disconnect"}`, `{"id":6,"ok":false,"error":{"code":"bad_request","message":"args: client is missing"}}`},
		{`{"id":7,"command":"disconnect","args":{"clientid":"a"}}`, `{"id":7,"ok":false,"error":{"code":"bad_request","message":"args: json: unknown field \"clientid\""}}`},
		{`{"id":8,"command":"stop"}`, `{"id":8,"ok":false,"error":{"code":"unknown_command","message":"unknown command \"stop\""}}`},
		{`{"id":9}`, `{"id":9,"ok":false,"error":{"code":"unknown_command","message":"unknown command \"\""}}`},
		{`{"id":[1],"command":"status"}`, `{"id":null,"ok":false,"error":{"code":"bad_request","message":"request: id is neither number nor string"}}`},
		{`{"id":1,"command":"status"}{}`, `{"id":null,"ok":false,"error":{"code":"bad_request","message":"request: more than one object in a line"}}`},
	} {
		if got := strings.TrimSuffix(string(c.answer([]byte(tc.request))), "\n"); got != tc.want {
			t.Errorf("%s\n got %s\nwant %s", tc.request, got, tc.want)
		}
	}
	if b.gone["a"] != mqtt.AdministrativeAction || b.gone["b"] != mqtt.ServerShuttingDown || len(b.gone) != 3 || b.reference != "other:1883" {
		t.Errorf("disconnected %v, the last one sent to %q", b.gone, b.reference)
	}
	for _, bad := range []string{"", "x", "[]", "{", `{"cmd":"status"}`, `"status"`} {
		var r struct {
			OK    *bool
			Error Error
		}
		if err := json.Unmarshal(c.answer([]byte(bad)), &r); err != nil || r.OK == nil || *r.OK || r.Error.Code != CodeBadRequest {
			t.Errorf("%q: %+v, %v", bad, r, err)
		}
	}
}

func TestErrorsOfTheBrokerHaveCodes(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want Code
	}{
		{errors.New("disk on fire"), CodeInternal},
		{context.DeadlineExceeded, CodeTimeout},
		{fmt.Errorf("x: %w", ErrNoClient), CodeNotFound},
		{&Error{CodeBusy, "later"}, CodeBusy},
	} {
		_, err := NewCommands(&fakeBroker{err: tc.err}).Do(t.Context(), "status", nil)
		if e, ok := errors.AsType[*Error](err); !ok || e.Code != tc.want {
			t.Errorf("%v became %v, want code %s", tc.err, err, tc.want)
		}
	}
}

// serve opens a socket in a short directory: the path of a Unix socket has at
// most 107 bytes.
func serve(t *testing.T, b Broker) *Server {
	t.Helper()
	dir, err := os.MkdirTemp("", "adm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s, err := Listen(filepath.Join(dir, "s"), NewCommands(b))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve() }()
	t.Cleanup(func() {
		_ = s.Close()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return s
}

func dial(t *testing.T, s *Server) *Conn {
	t.Helper()
	c, err := Dial(t.Context(), s.Path())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestOverTheSocket(t *testing.T) {
	s := serve(t, &fakeBroker{clients: []Client{{ID: strings.Repeat("long", 10000)}}})
	c := dial(t, s)
	var st Status
	if err := c.Call(t.Context(), "status", nil, &st); err != nil || st.PID != 7 || st.Metrics["clients"] != 2 {
		t.Errorf("status %+v, %v", st, err)
	}
	var list ClientList
	if err := c.Call(t.Context(), "clients", nil, &list); err != nil || len(list.Clients) != 1 || len(list.Clients[0].ID) != 40000 {
		t.Errorf("%d clients, %v", len(list.Clients), err)
	}
	err := c.Call(t.Context(), "disconnect", map[string]string{"client": "nobody"}, nil)
	if e, ok := errors.AsType[*Error](err); !ok || e.Code != CodeNotFound {
		t.Errorf("disconnect: %v", err)
	}
}

func TestSocketIsPrivateAndRemoved(t *testing.T) {
	s := serve(t, &fakeBroker{})
	info, err := os.Stat(s.Path())
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(s.Path()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after close: %v", err)
	}
}

func TestTwoBrokersDoNotFight(t *testing.T) {
	s := serve(t, &fakeBroker{})
	if _, err := Listen(s.Path(), NewCommands(&fakeBroker{})); !errors.Is(err, ErrInUse) {
		t.Errorf("second listen: %v", err)
	}
	if err := dial(t, s).Call(t.Context(), "status", nil, nil); err != nil {
		t.Errorf("the first broker's socket is gone: %v", err)
	}
}

func TestStaleSocketIsReplacedAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	l, err := net.Listen("unix", "stale")
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	s, err := Listen("stale", NewCommands(&fakeBroker{}))
	if err != nil {
		t.Fatalf("stale socket: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}

	if err := os.WriteFile("file", []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen("file", NewCommands(&fakeBroker{})); err == nil {
		t.Error("a file was taken for a socket")
	}
	if b, err := os.ReadFile("file"); err != nil || string(b) != "precious" {
		t.Errorf("the file holds %q, %v", b, err)
	}
	if _, err := Listen(filepath.Join("no", "dir"), NewCommands(&fakeBroker{})); err == nil {
		t.Error("listened in a directory that is not there")
	}
}

func TestRequestThatIsTooLong(t *testing.T) {
	c := dial(t, serve(t, &fakeBroker{}))
	if _, err := c.conn.Write([]byte(`{"id":1,"command":"` + strings.Repeat("x", maxRequest) + `"}` + "\n")); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(c.conn).ReadString('\n')
	if err != nil || !strings.Contains(line, "longer than 65536 bytes") {
		t.Errorf("reply %q, %v", line, err)
	}
}

func TestTooManyConnections(t *testing.T) {
	s := serve(t, &fakeBroker{})
	for range maxConnections {
		if err := dial(t, s).Call(t.Context(), "status", nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	extra := dial(t, s)
	line, err := extra.readLine()
	if want := `{"id":null,"ok":false,"error":{"code":"busy","message":"too many connections"}}` + "\n"; err != nil || string(line) != want {
		t.Errorf("reply %q, %v", line, err)
	}
}

func TestCallEndsWithItsContext(t *testing.T) {
	b := &fakeBroker{block: make(chan struct{})}
	c := dial(t, serve(t, b))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := c.Call(ctx, "status", nil, nil); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("call: %v", err)
	}
	close(b.block)
}

func TestDefaultPath(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", "/run/user/5")
	want := "/run/user/5/midge.sock"
	if os.Geteuid() == 0 {
		want = "/run/midge/midge.sock"
	}
	if got := DefaultPath(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	t.Setenv("XDG_RUNTIME_DIR", "")
	if got := DefaultPath(); got != "/run/midge/midge.sock" {
		t.Errorf("got %s", got)
	}
}

func FuzzRequest(f *testing.F) {
	for _, s := range []string{
		`{"id":1,"command":"status"}`, `{"id":"x","command":"clients","args":{"id":"b"}}`,
		`{"id":2,"command":"disconnect","args":{"client":"a","code":152}}`, `{"args":[1,{}]}`, `null`, `{"id":null}`, "\x00",
	} {
		f.Add([]byte(s))
	}
	c := NewCommands(&fakeBroker{clients: []Client{{ID: "a"}}})
	f.Fuzz(func(t *testing.T, line []byte) {
		reply := c.answer(line)
		var r struct {
			ID     json.RawMessage  `json:"id"`
			OK     *bool            `json:"ok"`
			Result *json.RawMessage `json:"result"`
			Error  *Error           `json:"error"`
		}
		if strings.Count(string(reply), "\n") != 1 || json.Unmarshal(reply, &r) != nil {
			t.Fatalf("reply %q is not one line of JSON", reply)
		}
		if r.ID == nil || r.OK == nil || *r.OK != (r.Error == nil) || *r.OK != (r.Result != nil) {
			t.Fatalf("reply %s", reply)
		}
	})
}
