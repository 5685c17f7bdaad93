//go:build !windows

package transport

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/midgemq/midge/internal/wsproto"
)

// short is a directory whose name leaves room for a socket's.
func short(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "mt")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(short(t), "s")
	var log lines
	ls, err := Listen(t.Context(), ListenSpec{Path: path}, &log)
	if err != nil {
		t.Fatal(err)
	}
	if len(ls) != 1 || ls[0].Family() != "unix" || ls[0].Where() != path || ls[0].Peer(netip.AddrPort{}) != path+":0" || ls[0].PeerIsClient() {
		t.Errorf("%+v", ls[0])
	}
	if want := []string{"I Opening unix listen socket on path " + path + "."}; !slices.Equal(log, want) {
		t.Errorf("log %q", log)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	acceptUnix(t, ls[0])
	if _, err := Listen(t.Context(), ListenSpec{Path: path}, &log); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a second broker: %v", err)
	}
	if err := ls[0].Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the path stays: %v", err)
	}
}

func TestUnixSocketLeftBehind(t *testing.T) {
	path := filepath.Join(short(t), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Fatal(err)
	}
	ls, _ := listen(t, ListenSpec{Path: path})
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if len(ls) != 1 {
		t.Errorf("%d listeners", len(ls))
	}
}

func TestUnixSocketErrors(t *testing.T) {
	dir := short(t)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ path, want string }{
		{file, "listen on unix socket " + file + ": bind: there is a file of this name that is no socket"},
		{filepath.Join(dir, "none", "s"), "no such file or directory"},
		{filepath.Join(dir, strings.Repeat("x", 200)), "longer than 103 bytes"},
	} {
		_, err := Listen(t.Context(), ListenSpec{Path: tt.path}, &lines{})
		var le *ListenError
		if !errors.As(err, &le) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v, want %q", err, tt.want)
		}
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "precious" {
		t.Errorf("the file is %q, %v", b, err)
	}
}

func TestBindInterface(t *testing.T) {
	lo, err := net.InterfaceByIndex(1)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.ToUpper(lo.Name)
	ls, _ := listen(t, ListenSpec{Interface: name})
	for _, l := range ls {
		if !l.Addr().Addr().IsLoopback() && l.Addr().Addr().Zone() == "" {
			t.Errorf("listens on %v", l.Addr())
		}
	}
	ls, _ = listen(t, ListenSpec{Interface: name, Network: NetworkTCP4})
	if len(ls) != 1 || ls[0].Addr().Addr().String() != "127.0.0.1" {
		t.Errorf("%v", ls[0].Addr())
	}
	ls, _ = listen(t, ListenSpec{Interface: name, Address: "127.0.0.1"})
	if len(ls) != 1 || ls[0].Addr().Addr().String() != "127.0.0.1" {
		t.Errorf("%v", ls[0].Addr())
	}
	for _, tt := range []struct {
		spec ListenSpec
		want string
	}{
		{ListenSpec{Interface: "no-such-0"}, "there is no network interface no-such-0"},
		{ListenSpec{Interface: name, Address: "192.0.2.1"}, "the address 192.0.2.1 is none of the interface " + name},
	} {
		if _, err := Listen(t.Context(), tt.spec, &lines{}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v, want %q", err, tt.want)
		}
	}
}

// layer stands for a TLS layer.
type layer struct{ wsproto.Layer }

func TestLayersOfAListener(t *testing.T) {
	made := 0
	newTLS := func() wsproto.Layer { made++; return &layer{wsproto.NewServer(&wsproto.ServerOptions{})} }
	ls, _ := listen(t, ListenSpec{Address: "127.0.0.1", NewTLS: newTLS})
	if _, ok := ls[0].NewLayer(netip.AddrPort{}).(*layer); !ok || made != 1 {
		t.Error("TLS alone is not what the listener has")
	}
	ls, _ = listen(t, ListenSpec{Address: "127.0.0.1", NewTLS: newTLS, Proxy: ProxyOptions{Version: 1}})
	p, ok := ls[0].NewLayer(netip.AddrPort{}).(*proxy)
	if !ok || ls[0].Announced() || ls[0].PeerIsClient() {
		t.Fatal("the header of the proxy does not come first")
	}
	if next, _, done := p.After(); done || next == nil {
		t.Error("TLS does not follow it")
	}
	ls, _ = listen(t, ListenSpec{Address: "127.0.0.1", Protocol: WebSockets})
	ls[0].SetWebSocket(wsproto.ServerOptions{Origins: []string{"https://a.example"}})
	l := ls[0].NewLayer(netip.AddrPort{})
	_, out, err := l.Inbound(nil, []byte("GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\nOrigin: https://b.example\r\n"+
		"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"), nil)
	if err == nil || !strings.HasPrefix(string(out), "HTTP/1.1 403 ") {
		t.Errorf("new settings are not in force: %q %v", out, err)
	}
}
