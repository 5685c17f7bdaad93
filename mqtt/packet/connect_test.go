package packet

import (
	"bytes"
	"testing"

	"github.com/midgemq/midge/mqtt"
)

const (
	name31  = "0006 'MQIsdp' 03 "
	name311 = "0004 'MQTT' 04 "
	name5   = "0004 'MQTT' 05 "
)

// connect puts a fixed header before a CONNECT body.
func connect(t testing.TB, body string) []byte {
	t.Helper()
	b := unhex(t, body)
	return append(appendHeader(nil, 0x10, len(b)), b...)
}

// checkConnect decodes body, compares it, writes it again and expects the same bytes unless other is set.
func checkConnect(t *testing.T, body string, want *Connect, other bool) {
	t.Helper()
	frame := connect(t, body)
	first, b := split(t, frame)
	got, err := checkDecode(t, 0, first, b)
	if err != nil {
		t.Errorf("%s: %v", body, err)
		return
	}
	if !same(got, want) {
		t.Errorf("%s:\n got %+v\nwant %+v", body, got, want)
	}
	if r := got.(*Connect).ReplyVersion(); r != want.Version {
		t.Errorf("%s: reply in %v", body, r)
	}
	if other {
		return
	}
	for _, v := range []mqtt.Version{0, want.Version} {
		if out := want.Append(nil, v); !bytes.Equal(out, frame) || want.Size(v) != len(frame) {
			t.Errorf("%s is written as %x, size %d", body, out, want.Size(v))
		}
	}
}

// refuseConnect expects a code; Version must be what the packet asked for as far as it was read.
func refuseConnect(t *testing.T, body string, want mqtt.ReasonCode) *Connect {
	t.Helper()
	first, b := split(t, connect(t, body))
	p := new(Connect)
	if err := p.Decode(first, b); code(err) != want {
		t.Errorf("%s: %v, want 0x%02X", body, err, byte(want))
	}
	return p
}

// covers: 31:U31-01 3:3.1.3-1 5:3.1.3-1
func TestConnect(t *testing.T) {
	checkConnect(t, name311+"02 003c 0001 'c'", &Connect{Version: mqtt.V311, CleanStart: true, KeepAlive: 60, ClientID: []byte("c")}, false)
	checkConnect(t, name311+"02 0000 0000", &Connect{Version: mqtt.V311, CleanStart: true}, false)
	checkConnect(t, name31+"00 ffff 0002 'id'", &Connect{Version: mqtt.V31, KeepAlive: 65535, ClientID: []byte("id")}, false)
	checkConnect(t, name5+"02 0000 00 0000", &Connect{Version: mqtt.V5, CleanStart: true}, false)
	checkConnect(t, name311+"f6 000a 0001 'c' 0001 'w' 0002 00ff 0001 'u' 0003 00ff80", &Connect{
		Version: mqtt.V311, CleanStart: true, KeepAlive: 10, ClientID: []byte("c"),
		WillFlag: true, WillQoS: 2, WillRetain: true, WillTopic: []byte("w"), WillPayload: []byte{0, 0xff},
		HasUserName: true, UserName: []byte("u"), HasPassword: true, Password: []byte{0, 0xff, 0x80},
	}, false)
	checkConnect(t, name31+"ce 000a 0001 'c' 0001 'w' 0001 'm' 0001 'u' 0001 'p'", &Connect{
		Version: mqtt.V31, CleanStart: true, KeepAlive: 10, ClientID: []byte("c"),
		WillFlag: true, WillQoS: 1, WillTopic: []byte("w"), WillPayload: []byte("m"),
		HasUserName: true, UserName: []byte("u"), HasPassword: true, Password: []byte("p"),
	}, false)
	checkConnect(t, name5+"ee 000a 08 11 0000003c 21 0014 0001 'c' 05 18 00000005 0001 'w' 0001 'm' 0001 'u' 0001 'p'", &Connect{
		Version: mqtt.V5, CleanStart: true, KeepAlive: 10, Props: unhex(t, "11 0000003c 21 0014"), ClientID: []byte("c"),
		WillFlag: true, WillQoS: 1, WillRetain: true, WillProps: unhex(t, "18 00000005"), WillTopic: []byte("w"), WillPayload: []byte("m"),
		HasUserName: true, UserName: []byte("u"), HasPassword: true, Password: []byte("p"),
	}, false)
	checkConnect(t, name311+"c2 0000 0001 'c' 0000 0000", &Connect{
		Version: mqtt.V311, CleanStart: true, ClientID: []byte("c"), HasUserName: true, HasPassword: true,
	}, false)
}

// covers: 31:U31-30
func TestConnectBridge(t *testing.T) {
	checkConnect(t, "0006 'MQIsdp' 83 00 0000 0001 'b'", &Connect{Version: mqtt.V31, Bridge: true, ClientID: []byte("b")}, false)
	checkConnect(t, "0004 'MQTT' 84 00 0000 0001 'b'", &Connect{Version: mqtt.V311, Bridge: true, ClientID: []byte("b")}, false)
	if p := refuseConnect(t, "0004 'MQTT' 85 00 0000 00 0001 'b'", mqtt.UnsupportedProtocolVersion); p.Version != 0x85 {
		t.Errorf("version %v", p.Version)
	}
}

// covers: 3:3.1.2-1 3:3.1.2-2 E016
func TestConnectVersion(t *testing.T) {
	for _, c := range []struct {
		body    string
		version mqtt.Version // as asked
		reply   mqtt.Version // 0: no answer
	}{
		{"0004 'MQTT' 03 02 0000 0000", 3, mqtt.V311},
		{"0004 'MQTT' 00 02 0000 0000", 0, mqtt.V311},
		{"0004 'MQTT' 06 02 0000 00 0000", 6, mqtt.V5},
		{"0004 'MQTT' 7f 02 0000 0000", 127, mqtt.V5},
		{"0004 'MQTT' 83 02 0000 0000", 0x83, mqtt.V5},
		{"0006 'MQIsdp' 04 02 0000 0000", 4, mqtt.V311},
		{"0006 'MQIsdp' 05 02 0000 0000", 5, mqtt.V311},
		{"0006 'MQIsdp' 02 02 0000 0000", 2, mqtt.V311},
		{"0006 'MQIsdp' 06 02 0000 0000", 6, mqtt.V311},
		{"0005 'MQTTX' 04 02 0000 0000", 0, 0},
		{"0004 'mqtt' 04 02 0000 0000", 0, 0},
		{"0000 04 02 0000 0000 000000", 0, 0},
		{"0004 eda08000 04 02 0000 0000", 0, 0},
	} {
		p := refuseConnect(t, c.body, mqtt.UnsupportedProtocolVersion)
		if p.Version != c.version || p.ReplyVersion() != c.reply {
			t.Errorf("%s: asks for %v, answer in %v", c.body, p.Version, p.ReplyVersion())
		}
	}
	refuseConnect(t, "0004 'MQTT'", mqtt.MalformedPacket)
	refuseConnect(t, "00ff 'MQTT' 04 00", mqtt.MalformedPacket)
	refuseConnect(t, "00", mqtt.MalformedPacket)
}

// covers: 3:3.1.2-11 3:3.1.2-14 E019
func TestConnectWillBits(t *testing.T) {
	for _, flags := range []string{"0a", "12", "1a", "22", "2a"} {
		refuseConnect(t, name311+flags+"0000 0001 'c'", mqtt.MalformedPacket)
		refuseConnect(t, name5+flags+"0000 00 0001 'c'", mqtt.MalformedPacket)
	}
	for _, flags := range []string{"1e", "3e"} {
		refuseConnect(t, name31+flags+"0000 0001 'c' 0001 'w' 0000", mqtt.MalformedPacket)
		refuseConnect(t, name311+flags+"0000 0001 'c' 0001 'w' 0000", mqtt.MalformedPacket)
		refuseConnect(t, name5+flags+"0000 00 0001 'c' 00 0001 'w' 0000", mqtt.MalformedPacket)
	}
	// 3.1 disregards the two fields when there is no will.
	checkConnect(t, name31+"2a 0000 0001 'c'", &Connect{Version: mqtt.V31, CleanStart: true, ClientID: []byte("c")}, true)
}

// covers: 5:3.1.2-9 3:3.1.2-9 E061
func TestConnectWill(t *testing.T) {
	refuseConnect(t, name311+"06 0000 0001 'c'", mqtt.MalformedPacket)
	refuseConnect(t, name31+"06 0000 0001 'c'", mqtt.MalformedPacket)
	refuseConnect(t, name311+"06 0000 0001 'c' 0001 'w'", mqtt.MalformedPacket)
	refuseConnect(t, name5+"06 0000 00 0001 'c'", mqtt.MalformedPacket)
	refuseConnect(t, name5+"06 0000 00 0001 'c' 00", mqtt.MalformedPacket)
	refuseConnect(t, name5+"06 0000 00 0001 'c' 00 0001 'w'", mqtt.MalformedPacket)
	refuseConnect(t, name5+"06 0000 00 0001 'c' 0001 'w' 0000", mqtt.MalformedPacket) // properties missing
	refuseConnect(t, name311+"06 0000 0001 'c' 0000 0000", mqtt.ProtocolError)        // empty topic
	refuseConnect(t, name5+"06 0000 00 0001 'c' 00 0000 0000", mqtt.ProtocolError)
	refuseConnect(t, name311+"06 0000 0001 'c' 0003 'w/#' 0000", mqtt.TopicNameInvalid)
	refuseConnect(t, name5+"06 0000 00 0001 'c' 00 0003 'w/+' 0000", mqtt.TopicNameInvalid)
	refuseConnect(t, name311+"06 0000 0001 'c' 0002 c328 0000", mqtt.MalformedPacket)
	refuseConnect(t, name5+"06 0000 00 0001 'c' 00 0002 c328 0000", mqtt.MalformedPacket)
}

// covers: 31:U31-11 3:3.1.2-3
func TestConnectReservedFlag(t *testing.T) {
	checkConnect(t, name31+"03 0000 0001 'c'", &Connect{Version: mqtt.V31, CleanStart: true, ClientID: []byte("c")}, true)
	refuseConnect(t, name311+"03 0000 0001 'c'", mqtt.MalformedPacket)
	refuseConnect(t, name5+"03 0000 00 0001 'c'", mqtt.MalformedPacket)
}

// covers: 31:U31-12 31:U31-13 31:U31-14
func TestConnectCredentialsV31(t *testing.T) {
	checkConnect(t, name31+"82 0000 0001 'c'", &Connect{Version: mqtt.V31, CleanStart: true, ClientID: []byte("c")}, true)
	checkConnect(t, name31+"c2 0000 0001 'c'", &Connect{Version: mqtt.V31, CleanStart: true, ClientID: []byte("c")}, true)
	checkConnect(t, name31+"c2 0000 0001 'c' 0001 'u'", &Connect{
		Version: mqtt.V31, CleanStart: true, ClientID: []byte("c"), HasUserName: true, UserName: []byte("u"),
	}, true)
	refuseConnect(t, name31+"42 0000 0001 'c' 0001 'p'", mqtt.MalformedPacket)
	refuseConnect(t, name31+"82 0000 0001 'c' 00", mqtt.MalformedPacket)       // half a length
	refuseConnect(t, name31+"82 0000 0001 'c' 0002 'u'", mqtt.MalformedPacket) // half a name
	refuseConnect(t, name31+"02 0000 0001 'c' 0001 'u'", mqtt.MalformedPacket) // not flagged
}

// covers: 3:3.1.2-19 3:3.1.2-21 3:3.1.2-22
func TestConnectCredentialsV311(t *testing.T) {
	refuseConnect(t, name311+"82 0000 0001 'c'", mqtt.MalformedPacket)
	refuseConnect(t, name311+"c2 0000 0001 'c' 0001 'u'", mqtt.MalformedPacket)
	refuseConnect(t, name311+"42 0000 0001 'c' 0001 'p'", mqtt.MalformedPacket)
	refuseConnect(t, name311+"02 0000 0001 'c' 0001 'u'", mqtt.MalformedPacket)
	refuseConnect(t, name311+"82 0000 0001 'c' 0001 'u' 0001 'p'", mqtt.MalformedPacket)
	refuseConnect(t, name311+"02 0000", mqtt.MalformedPacket) // no client identifier
}

// covers: 5:3.1.2-17 5:3.1.2-19 E020
func TestConnectCredentialsV5(t *testing.T) {
	checkConnect(t, name5+"42 0000 00 0001 'c' 0001 'p'", &Connect{
		Version: mqtt.V5, CleanStart: true, ClientID: []byte("c"), HasPassword: true, Password: []byte("p"),
	}, false)
	refuseConnect(t, name5+"82 0000 00 0001 'c'", mqtt.MalformedPacket)
	refuseConnect(t, name5+"42 0000 00 0001 'c'", mqtt.MalformedPacket)
	refuseConnect(t, name5+"02 0000 00 0001 'c' 0001 'u'", mqtt.MalformedPacket)
	refuseConnect(t, name5+"82 0000 00 0001 'c' 0001 'u' 0001 'p'", mqtt.MalformedPacket)
}

// covers: 5:3.1.3-12 3:3.1.3-11 3:3.1.3-4
func TestConnectText(t *testing.T) {
	for _, bad := range []string{"0002 fffe", "0003 eda080", "0001 00", "0003 'u' 00 'x'"} {
		refuseConnect(t, name311+"02 0000 "+bad, mqtt.MalformedPacket)
		refuseConnect(t, name5+"02 0000 00"+bad, mqtt.MalformedPacket)
		refuseConnect(t, name31+"82 0000 0001 'c'"+bad, mqtt.MalformedPacket)
		refuseConnect(t, name311+"82 0000 0001 'c'"+bad, mqtt.MalformedPacket)
		refuseConnect(t, name5+"82 0000 00 0001 'c'"+bad, mqtt.MalformedPacket)
	}
}

// covers: 5:U5-3.1.2.11.10-1 5:U5-3.1.2.11.9-1 E169
func TestConnectAuthentication(t *testing.T) {
	refuseConnect(t, name5+"02 0000 04 16 0001 00 0000", mqtt.ProtocolError)
	refuseConnect(t, name5+"02 0000 08 15 0001 'm' 15 0001 'm' 0000", mqtt.ProtocolError)
	refuseConnect(t, name5+"02 0000 0c 15 0001 'm' 16 0001 00 16 0001 00 0000", mqtt.ProtocolError)
	checkConnect(t, name5+"02 0000 08 16 0001 00 15 0001 'm' 0000", &Connect{
		Version: mqtt.V5, CleanStart: true, Props: unhex(t, "16 0001 00 15 0001 'm'"),
	}, false)
}

// 3.1 leaves the flags of the first byte unchecked [U31-10]; the others do not.
func TestConnectFirstByte(t *testing.T) {
	for body, ok := range map[string]bool{name31 + "02 0000 0001 'c'": true, name311 + "02 0000 0001 'c'": false, name5 + "02 0000 00 0000": false} {
		for flags := byte(1); flags < 16; flags++ {
			var p Connect
			if err := p.Decode(0x10|flags, unhex(t, body)); (err == nil) != ok {
				t.Errorf("%02x %s: %v", 0x10|flags, body, err)
			}
		}
	}
}

func TestConnectDoesNotAllocate(t *testing.T) {
	good := unhex(t, name5+"ee 000a 08 11 0000003c 21 0014 0001 'c' 05 18 00000005 0001 'w' 0001 'm' 0001 'u' 0001 'p'")
	bad := unhex(t, name5+"02 0000 04 16 0001 00 0000")
	dst := make([]byte, 0, 256)
	var p Connect
	if n := testing.AllocsPerRun(200, func() {
		if err := p.Decode(0x10, bad); err == nil {
			t.Error("accepted")
		}
		if err := p.Decode(0x10, good); err != nil {
			t.Error(err)
		}
		dst = p.Append(dst[:0], 0)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzConnect(f *testing.F) {
	var seeds []string
	for _, s := range []string{
		"0c" + name311 + "02 003c 0000", "0e" + name31 + "82 0000 0000", "0d" + name5 + "02 0000 00 0000",
		"1a" + name311 + "f6 000a 0001 'c' 0001 'w' 0002 00ff 0001 'u' 0001 'p'",
		"28" + name5 + "ee 000a 08 11 0000003c 21 0014 0001 'c' 05 18 00000005 0001 'w' 0001 'm' 0001 'u' 0001 'p'",
		"0d 0004 'MQTT' 84 02 0000 0001 'b'",
	} {
		seeds = append(seeds, "10"+s)
	}
	fuzzPacket(f, CONNECT, seeds...)
}

func BenchmarkConnect(b *testing.B) {
	for name, body := range map[string]string{
		"3.1.1": name311 + "02 003c 000c 'client-00001'",
		"5.0":   name5 + "ee 000a 08 11 0000003c 21 0014 000c 'client-00001' 05 18 00000005 0001 'w' 0001 'm' 0001 'u' 0001 'p'",
	} {
		in := unhex(b, body)
		b.Run(name+" decode", func(b *testing.B) {
			b.ReportAllocs()
			var p Connect
			for b.Loop() {
				if err := p.Decode(0x10, in); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+" append", func(b *testing.B) {
			var p Connect
			if err := p.Decode(0x10, in); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			dst := make([]byte, 0, 256)
			for b.Loop() {
				dst = p.Append(dst[:0], 0)
			}
		})
	}
}
