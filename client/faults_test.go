package client_test

import (
	"errors"
	"testing"
	"time"

	"github.com/midgemq/midge/client"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

// fault is what a broken server sends after CONNACK, and the DISCONNECT it is to get.
type fault struct {
	name string
	hex  string
	code mqtt.ReasonCode
}

func testFaults(t *testing.T, v mqtt.Version, faults []fault) {
	t.Helper()
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newPeers(t)
				o := s.options(v)
				o.ReceiveMaximum, o.TopicAliases, o.MaximumPacketSize = 2, 2, 1000
				lost := make(chan error, 1)
				o.OnDisconnect = func(err error) { lost <- err }
				_, p := connected(t, s, o, v, nil)
				p.hex(f.hex)
				want := int(f.code)
				if v != mqtt.V5 {
					want = -1
				}
				if got := p.closed(); got != want {
					t.Errorf("DISCONNECT %#x, want %#x", got, want)
				}
				var pe *client.ProtocolError
				if err := <-lost; !errors.As(err, &pe) {
					t.Errorf("reported: %v", err)
				}
			})
		})
	}
}

// covers: 5:2.1.3-1 5:U5-2.1.2-1 5:1.5.5-1
func TestFaultyFrames(t *testing.T) {
	testFaults(t, mqtt.V5, []fault{
		{"type 0", "00 00", mqtt.MalformedPacket},
		{"flags of PUBACK", "41 02 00 01", mqtt.MalformedPacket},
		{"flags of PUBREL", "60 02 00 01", mqtt.MalformedPacket},
		{"flags of AUTH", "f1 00", mqtt.MalformedPacket},
		{"flags of DISCONNECT", "e1 00", mqtt.MalformedPacket},
		{"length not shortest", "d0 80 00", mqtt.MalformedPacket},
		{"length of five bytes", "30 80 80 80 80 01", mqtt.MalformedPacket},
		{"PINGRESP with a body", "d0 01 00", mqtt.MalformedPacket},
		{"CONNACK again", "20 03 00 00 00", mqtt.ProtocolError},
		{"SUBSCRIBE", "82 07 00 01 00 00 01 61 00", mqtt.ProtocolError},
		{"CONNECT", "10 0d 00 04 4d 51 54 54 05 02 00 00 00 00 00", mqtt.ProtocolError},
		{"AUTH without method", "f0 00", mqtt.ProtocolError},
		{"AUTH unasked", "f0 06 18 04 15 00 01 61", mqtt.ProtocolError},
	})
}

// covers: 5:U5-3.3.2.3.8-1 5:U5-4.13-1 5:3.3.2-2
func TestFaultyPublish(t *testing.T) {
	testFaults(t, mqtt.V5, []fault{
		{"QoS 3", "36 06 00 01 61 00 01 00", mqtt.MalformedPacket},
		{"QoS 0 with DUP", "38 04 00 01 61 00", mqtt.MalformedPacket},
		{"invalid UTF-8", "30 05 00 02 c0 af 00", mqtt.MalformedPacket},
		{"NUL", "30 05 00 02 61 00 00", mqtt.MalformedPacket},
		{"topic beyond the packet", "30 05 00 09 61 61 00", mqtt.MalformedPacket},
		{"wildcard", "30 05 00 02 61 23 00", mqtt.TopicNameInvalid},
		{"identifier 0", "32 06 00 01 61 00 00 00", mqtt.ProtocolError},
		{"no topic, no alias", "30 03 00 00 00", mqtt.ProtocolError},
		{"response topic with wildcard", "30 09 00 01 61 05 08 00 02 61 2b", mqtt.ProtocolError},
		{"subscription identifier 0", "30 06 00 01 61 02 0b 00", mqtt.ProtocolError},
		{"unknown property", "30 06 00 01 61 02 7f 00", mqtt.MalformedPacket},
		{"property of another packet", "30 07 00 01 61 03 21 00 01", mqtt.MalformedPacket},
		{"content type twice", "30 0c 00 01 61 08 03 00 01 61 03 00 01 61", mqtt.ProtocolError},
		{"expiry twice", "30 0e 00 01 61 0a 02 00 00 00 01 02 00 00 00 01", mqtt.ProtocolError},
	})
}

// covers: 5:U5-3.3.2.3.4-2 5:U5-3.3.2.3.4-3 5:U5-3.3.2.3.4-1
func TestFaultyAliases(t *testing.T) {
	testFaults(t, mqtt.V5, []fault{
		{"alias 0", "30 07 00 01 61 03 23 00 00", mqtt.TopicAliasInvalid},
		{"alias above the offer", "30 07 00 01 61 03 23 00 03", mqtt.TopicAliasInvalid},
		{"alias without topic", "30 06 00 00 03 23 00 01", mqtt.ProtocolError},
		{"alias twice", "30 0a 00 01 61 06 23 00 01 23 00 01", mqtt.ProtocolError},
	})
}

// covers: 5:U5-3.3.4-4 5:U5-3.1.2.11.4-2 5:3.14.2-2
func TestFaultyLimits(t *testing.T) {
	hold := "32 06 00 01 61 00 01 00 32 06 00 01 61 00 02 00 32 06 00 01 61 00 03 00"
	bubble(t, func(t *testing.T) {
		s := newPeers(t)
		o := s.options(mqtt.V5)
		o.ReceiveMaximum = 2
		o.ManualAck = true
		o.DefaultHandler = func(*client.Message) {}
		_, p := connected(t, s, o, mqtt.V5, nil)
		p.hex(hold)
		if got := p.closed(); got != int(mqtt.ReceiveMaximumExceeded) {
			t.Errorf("DISCONNECT %#x", got)
		}
	})
	testFaults(t, mqtt.V5, []fault{
		{"packet too large", "30 e9 07", mqtt.PacketTooLarge},
		{"session expiry from the server", "e0 07 00 05 11 00 00 00 01", mqtt.ProtocolError},
	})
}

// covers: 5:3.1.2-24 3:4.8.0-1 3:2.2.2-2
func TestFaultsInV3(t *testing.T) {
	for _, v := range []mqtt.Version{mqtt.V31, mqtt.V311} {
		testFaults(t, v, []fault{
			{"type 0", "00 00", 0},
			{"type 15", "f0 00", 0},
			{"DISCONNECT", "e0 00", 0},
			{"QoS 3", "36 05 00 01 61 00 01", 0},
			{"identifier 0", "32 05 00 01 61 00 00", 0},
			{"wildcard", "30 04 00 02 61 2b", 0},
			{"PUBACK with reason", "40 03 00 01 00", 0},
		})
	}
}

// covers: 5:U5-3.2.2.3.3-1 5:U5-3.2.2.3.4-1 5:U5-3.2.2.3.6-1
func TestFaultyConnackLimits(t *testing.T) {
	testConnacks(t, map[string]string{
		"receive maximum 0":         "20 06 00 00 03 21 00 00",
		"receive maximum twice":     "20 09 00 00 06 21 00 01 21 00 01",
		"maximum QoS 2":             "20 05 00 00 02 24 02",
		"maximum QoS twice":         "20 07 00 00 04 24 01 24 01",
		"maximum packet size 0":     "20 08 00 00 05 27 00 00 00 00",
		"maximum packet size twice": "20 0d 00 00 0a 27 00 00 00 09 27 00 00 00 09",
	})
}

// covers: 5:U5-3.2.2.3.11-1 5:U5-3.2.2.3.12-1 5:U5-3.2.2.3.13-1
func TestFaultyConnackSubscriptions(t *testing.T) {
	testConnacks(t, map[string]string{
		"wildcard available 2":        "20 05 00 00 02 28 02",
		"wildcard available twice":    "20 07 00 00 04 28 01 28 01",
		"identifiers available 2":     "20 05 00 00 02 29 02",
		"identifiers available twice": "20 07 00 00 04 29 01 29 01",
		"shared available 2":          "20 05 00 00 02 2a 02",
		"shared available twice":      "20 07 00 00 04 2a 01 2a 01",
	})
}

// covers: 5:U5-3.2.2.3.5-1 5:U5-3.2.2.3.15-1 5:U5-3.2.2.3.17-1
func TestFaultyConnackRest(t *testing.T) {
	testConnacks(t, map[string]string{
		"retain available 2":       "20 05 00 00 02 25 02",
		"retain available twice":   "20 07 00 00 04 25 01 25 01",
		"server keep alive twice":  "20 09 00 00 06 13 00 01 13 00 01",
		"assigned id twice":        "20 0b 00 00 08 12 00 01 61 12 00 01 61",
		"reason string twice":      "20 0b 00 00 08 1f 00 01 61 1f 00 01 61",
		"response info twice":      "20 0b 00 00 08 1a 00 01 61 1a 00 01 61",
		"server reference twice":   "20 0b 00 00 08 1c 00 01 61 1c 00 01 61",
		"session expiry twice":     "20 0d 00 00 0a 11 00 00 00 01 11 00 00 00 01",
		"method twice":             "20 0b 00 00 08 15 00 01 61 15 00 01 61",
		"authentication unasked":   "20 07 00 00 04 15 00 01 61",
		"data without method":      "20 07 00 00 04 16 00 01 61",
		"reserved acknowledge bit": "20 03 02 00 00",
		"success with code 1":      "20 03 00 01 00",
		"PUBLISH before CONNACK":   "30 04 00 01 61 00",
	})
}

func testConnacks(t *testing.T, faults map[string]string) {
	for name, hex := range faults {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newPeers(t)
				errs := make(chan error, 1)
				o := s.options(mqtt.V5)
				o.OnError = func(err error) { errs <- err }
				c, err := client.New(o)
				if err != nil {
					t.Fatal(err)
				}
				c.Start()
				p := s.next(mqtt.V5)
				expect[*packet.Connect](p)
				p.hex(hex)
				if code := p.closed(); code != 0x81 && code != 0x82 {
					t.Errorf("DISCONNECT %#x", code)
				}
				var pe *client.ProtocolError
				if err := <-errs; !errors.As(err, &pe) {
					t.Errorf("reported: %v", err)
				}
				c.Close()
			})
		})
	}
}

// covers: 5:U5-3.1.2.11.7-2 5:U5-3.2.2.3.9-1
func TestProblemInformationDeclined(t *testing.T) {
	for _, hex := range []string{"40 08 00 01 00 04 1f 00 01 61", "90 08 00 01 04 1f 00 01 61 00", "50 0b 00 01 00 07 26 00 01 61 00 01 62"} {
		bubble(t, func(t *testing.T) {
			s := newPeers(t)
			o := s.options(mqtt.V5)
			o.Properties = &mqtt.Properties{RequestProblemInfo: ptr(false)}
			_, p := connected(t, s, o, mqtt.V5, nil)
			p.hex(hex)
			if code := p.closed(); code != int(mqtt.ProtocolError) {
				t.Errorf("%s: DISCONNECT %#x", hex, code)
			}
		})
	}
}

// covers: 5:3.1.2-20 3:3.1.2-23
func TestPing(t *testing.T) {
	eachVersion(t, func(t *testing.T, v mqtt.Version) {
		s := newPeers(t)
		o := s.options(v)
		o.KeepAlive = 10 * time.Second
		_, p := connected(t, s, o, v, nil)
		last := time.Now()
		for range 3 {
			f, err := p.frame()
			if err != nil || f[0] != 0xc0 {
				t.Fatalf("% x %v", f, err)
			}
			if d := time.Since(last); d > 10*time.Second || d < 5*time.Second {
				t.Errorf("PINGREQ after %v", d)
			}
			last = time.Now()
			p.send(&packet.Pingresp{})
		}
		// No answer: the connection is given up, and made anew.
		if f, err := p.frame(); err != nil || f[0] != 0xc0 {
			t.Fatalf("% x %v", f, err)
		}
		last = time.Now()
		p.closed()
		if d := time.Since(last); d != 10*time.Second {
			t.Errorf("gave up after %v", d)
		}
		p, _ = s.accept(v, false, nil)
		p.nc.Close()
	})
}

// covers: 5:3.1.2-21 5:3.2.2-21 5:U5-3.2.2.3.14-1
func TestServerKeepAlive(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newPeers(t)
		_, p := connected(t, s, s.options(mqtt.V5), mqtt.V5, &mqtt.Properties{ServerKeepAlive: ptr(uint16(1))})
		start := time.Now()
		if f, err := p.frame(); err != nil || f[0] != 0xc0 || time.Since(start) > time.Second {
			t.Errorf("% x %v after %v", f, err, time.Since(start))
		}
	})
	bubble(t, func(t *testing.T) {
		s := newPeers(t)
		_, p := connected(t, s, s.options(mqtt.V5), mqtt.V5, &mqtt.Properties{ServerKeepAlive: ptr(uint16(0))})
		p.nc.SetReadDeadline(time.Now().Add(59 * time.Minute))
		if n, err := p.nc.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Error("pinged although the server switched it off")
		}
	})
}

// covers: 5:U5-3.2.0-1 3:U311-3.2.0-1
func TestSilentServer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newPeers(t)
		o := s.options(mqtt.V5)
		o.ConnectTimeout = 5 * time.Second
		errs := make(chan error, 1)
		o.OnError = func(err error) { errs <- err }
		c, err := client.New(o)
		if err != nil {
			t.Fatal(err)
		}
		c.Start()
		defer c.Close()
		start := time.Now()
		p := s.next(mqtt.V5)
		expect[*packet.Connect](p)
		p.closed()
		if err := <-errs; !errors.Is(err, client.ErrNoConnack) || time.Since(start) != 5*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

// covers: 5:U5-2.4-1 5:U5-3.6.2-1 5:U5-3.4.2-1
func TestOddAcknowledgements(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newPeers(t)
		c, p := connected(t, s, s.options(mqtt.V5), mqtt.V5, nil)
		p.hex("40 02 00 63")       // PUBACK of nothing
		p.hex("70 03 00 63 92")    // PUBCOMP of nothing
		p.hex("90 04 00 63 00 00") // SUBACK of nothing
		p.hex("62 02 00 63")       // PUBREL of nothing
		if a := p.ackOf(packet.PUBCOMP, 0x63); a.Code != mqtt.PacketIDNotFound {
			t.Errorf("PUBCOMP %v", a.Code)
		}
		p.hex("50 02 00 63") // PUBREC of nothing
		if a := p.ackOf(packet.PUBREL, 0x63); a.Code != mqtt.PacketIDNotFound {
			t.Errorf("PUBREL %v", a.Code)
		}
		for _, tc := range []struct {
			code mqtt.ReasonCode
			ok   bool
		}{{0, true}, {0x10, true}, {0x7f, true}, {0x87, false}, {0xfe, false}} {
			h := publishAsync(t, c, "x", 1)
			id := expect[*packet.Publish](p).PacketID
			p.send(&packet.Ack{Type: packet.PUBACK, PacketID: id, Code: tc.code})
			err := h.Wait(t.Context())
			if got, refused := client.ReasonOf(err); (err == nil) != tc.ok || refused == tc.ok || !tc.ok && got != tc.code {
				t.Errorf("code %#x: %v", tc.code, err)
			}
		}
		// The wrong kind of acknowledgement frees nothing and ends the connection.
		publishAsync(t, c, "x", 2)
		id := expect[*packet.Publish](p).PacketID
		p.send(ack(packet.PUBACK, id))
		if code := p.closed(); code != int(mqtt.ProtocolError) {
			t.Errorf("DISCONNECT %#x", code)
		}
	})
}
