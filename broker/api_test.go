package broker

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/midgemq/midge/internal/config"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func TestHTTPAPI(t *testing.T) {
	port := freePort(t)
	_, addr := start(t, func(o *Options) {
		o.Config.SysInterval = 10
		o.Config.Listeners = append(o.Config.Listeners, &config.Listener{
			Port: port, Address: "127.0.0.1", Protocol: config.HTTPAPI, AllowAnonymous: true,
		})
	})
	dial(t, addr, packet.Connect{Version: mqtt.V5, CleanStart: true, ClientID: []byte("c")})
	get := func(path string) (int, string) {
		resp, err := http.Get("http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	if status, body := get("/api/v1/version"); status != 200 || body != "test" {
		t.Errorf("version: %d %q", status, body)
	}
	var tree map[string]int64
	status, body := get("/api/v1/systree")
	if err := json.Unmarshal([]byte(body), &tree); err != nil || status != 200 {
		t.Fatalf("systree: %d %q: %v", status, body, err)
	}
	for _, topic := range []string{"$SYS/broker/clients/total", "$SYS/broker/uptime", "$SYS/broker/retained messages/count"} {
		if _, ok := tree[topic]; !ok {
			t.Errorf("systree has no %s: %q", topic, body)
		}
	}
	var l struct{ Listeners []map[string]any }
	if status, body = get("/api/v1/listeners"); status != 200 || json.Unmarshal([]byte(body), &l) != nil || len(l.Listeners) != 2 ||
		l.Listeners[0]["protocol"] != "mqtt" || l.Listeners[1]["protocol"] != "httpapi" || l.Listeners[1]["port"] != float64(port) {
		t.Errorf("listeners: %d %q", status, body)
	}
	if status, _ := get("/"); status != 404 {
		t.Errorf("files without http_dir: %d", status)
	}
}

// What is published below $CONTROL is acknowledged and answered, and reaches no
// subscriber; without enable_control_api it is refused.
func TestControlAPI(t *testing.T) {
	for _, enabled := range []bool{true, false} {
		b, addr := start(t, func(o *Options) { o.Config.EnableControlAPI = enabled })
		p, _ := dial(t, addr, packet.Connect{Version: mqtt.V5, CleanStart: true, ClientID: []byte("c")})
		p.subscribe(t, "$CONTROL/#", mqtt.AtMostOnce)
		p.send(&packet.Publish{
			Topic: []byte("$CONTROL/broker/v1"), QoS: mqtt.AtLeastOnce, PacketID: 9, Retain: true,
			Payload: []byte(`{"commands":[{"command":"listlisteners","correlationData":"x"},{"command":"listPlugins"}]}`),
		})
		var ack packet.Ack
		var got packet.Publish
		for range 1 + map[bool]int{true: 1}[enabled] {
			first, body, err := p.next()
			if err != nil {
				t.Fatal(err)
			}
			if packet.Type(first>>4) == packet.PUBACK {
				ack.Type = packet.PUBACK
				err = ack.Decode(mqtt.V5, first, body)
			} else {
				err = got.Decode(mqtt.V5, first, body)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if !enabled {
			if ack.Code != mqtt.NotAuthorized {
				t.Errorf("switched off: PUBACK %v", ack.Code)
			}
			continue
		}
		want := `{"responses":[{"command":"listlisteners","correlationData":"x","data":{"listeners":[`
		if ack.Code != mqtt.Success || string(got.Topic) != "$CONTROL/broker/v1/response" || !strings.HasPrefix(string(got.Payload), want) || got.Retain {
			t.Errorf("PUBACK %v, then %q %q", ack.Code, got.Topic, got.Payload)
		}
		if !strings.HasSuffix(string(got.Payload), `{"command":"listPlugins","data":{"plugins":[]}}]}`) {
			t.Errorf("answer %q", got.Payload)
		}
		if n := b.hub.Retained.Len(); n != 0 {
			t.Errorf("%d retained messages", n)
		}
		p.send(&packet.Disconnect{})
		if _, _, err := p.next(); !errors.Is(err, io.EOF) {
			t.Fatalf("after DISCONNECT: %v", err)
		}
		st, err := b.Admin().Status(context.Background())
		if err != nil || !maps.Equal(st.Ends, map[string]int64{"client-disconnect": 1}) {
			t.Errorf("ends %v: %v", st.Ends, err)
		}
	}
}
