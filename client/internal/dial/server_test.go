package dial

import (
	"strings"
	"testing"
)

func TestParseServer(t *testing.T) {
	for in, want := range map[string]Server{
		"host":                  {addr: "host:1883"},
		"host:1":                {addr: "host:1"},
		"mqtt://host":           {addr: "host:1883"},
		"tcp://host:7/":         {addr: "host:7"},
		"mqtts://host":          {addr: "host:8883", secure: true},
		"ssl://[::1]":           {addr: "[::1]:8883", secure: true},
		"tls://host:1":          {addr: "host:1", secure: true},
		"ws://host":             {addr: "host:80", kind: transportWebSocket, path: "/mqtt"},
		"ws://host/":            {addr: "host:80", kind: transportWebSocket, path: "/"},
		"wss://host:9/a/b?c=d":  {addr: "host:9", kind: transportWebSocket, secure: true, path: "/a/b?c=d"},
		"unix:///run/mqtt.sock": {addr: "/run/mqtt.sock", kind: transportUnix},
	} {
		got, err := ParseServer(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if got.URL != in || got.addr != want.addr || got.kind != want.kind || got.secure != want.secure || got.path != want.path {
			t.Errorf("%s: %+v, want %+v", in, got, want)
		}
	}
	for _, in := range []string{"", "mqtt://", "http://x", "mqtt://x/y", "mqtt://x?y", "unix://", "mqtt://u:secret@x", "mqtt://x:port", "ws://"} {
		if s, err := ParseServer(in); err == nil {
			t.Errorf("%q: taken as %+v", in, s)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the error shows the password: %v", in, err)
		}
	}
}

func TestRefer(t *testing.T) {
	for _, tc := range []struct{ from, reference, url, addr string }{
		{"mqtt://a:1999", "b", "mqtt://b:1999", "b:1999"},
		{"mqtts://a", "b:1 c:2", "mqtts://b:1", "b:1"},
		{"wss://a/path", "b:1", "wss://b:1/path", "b:1"},
		{"mqtt://a", "[::1]:5", "mqtt://[::1]:5", "[::1]:5"},
		{"mqtt://a", "::1", "mqtt://[::1]:1883", "[::1]:1883"},
		{"unix:///s", "b", "mqtt://b:1883", "b:1883"},
		{"mqtt://a", "mqtts://b", "mqtts://b", "b:8883"},
	} {
		from, err := ParseServer(tc.from)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := from.Refer(tc.reference); err != nil || got.URL != tc.url || got.addr != tc.addr {
			t.Errorf("%s refers to %q: %+v %v, want %s", tc.from, tc.reference, got, err, tc.url)
		}
	}
	from, _ := ParseServer("mqtt://a")
	for _, bad := range []string{"", "  ", "a/b", ":1", "gopher://x"} {
		if s, err := from.Refer(bad); err == nil {
			t.Errorf("%q: taken as %+v", bad, s)
		}
	}
}

func FuzzParseServer(f *testing.F) {
	for _, s := range []string{"host:1", "wss://host/a", "unix:///s", "mqtt://u:p@h"} {
		f.Add(s, "other:5")
	}
	f.Fuzz(func(t *testing.T, url, reference string) {
		s, err := ParseServer(url)
		if err != nil {
			return
		}
		if s.addr == "" || s.URL != url {
			t.Errorf("%q: %+v", url, s)
		}
		if r, err := s.Refer(reference); err == nil && r.addr == "" {
			t.Errorf("%q refers to %q: %+v", url, reference, r)
		}
	})
}
