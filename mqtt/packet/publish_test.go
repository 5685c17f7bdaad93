package packet

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/midgemq/midge/mqtt"
)

// covers: 3:2.3.1-5 5:2.2.1-2 3:U311-3.3.3-1
func TestPublish(t *testing.T) {
	topic, payload := []byte("t"), []byte("ab")
	checkGood(t, []goodCase{
		{only3, "30 05 0001 't' 'ab'", &Publish{Topic: topic, Payload: payload}, false},
		{only5, "30 06 0001 't' 00 'ab'", &Publish{Topic: topic, Payload: payload}, false},
		{only3, "31 03 0001 't'", &Publish{Topic: topic, Retain: true}, false},
		{only5, "31 04 0001 't' 00", &Publish{Topic: topic, Retain: true}, false},
		{only3, "32 07 0001 't' abcd 'ab'", &Publish{Topic: topic, QoS: 1, PacketID: 0xabcd, Payload: payload}, false},
		{only3, "3a 07 0001 't' 0001 'ab'", &Publish{Topic: topic, QoS: 1, Dup: true, PacketID: 1, Payload: payload}, false},
		{only3, "3d 07 0001 't' ffff 'ab'", &Publish{Topic: topic, QoS: 2, Dup: true, Retain: true, PacketID: 65535, Payload: payload}, false},
		{only5, "34 08 0001 't' 1234 00 'ab'", &Publish{Topic: topic, QoS: 2, PacketID: 0x1234, Payload: payload}, false},
		{only5, "30 09 0001 't' 03 23 0005 'ab'", &Publish{Topic: topic, Props: unhex(t, "23 0005"), Payload: payload}, false},
		{only5, "32 0a 0000 0001 03 23 0005 'ab'", &Publish{QoS: 1, PacketID: 1, Props: unhex(t, "23 0005"), Payload: payload}, false},
		{
			only5, "30 2b 0003 'a/b' 23 01 01 02 0000000a 03 0001 'c' 08 0001 'r' 09 0002 00ff 0b 05 0b 8001 23 0001 26 0001 'k' 0001 'v' 00 01",
			&Publish{
				Topic: []byte("a/b"), Payload: []byte{0, 1},
				Props: unhex(t, "01 01 02 0000000a 03 0001 'c' 08 0001 'r' 09 0002 00ff 0b 05 0b 8001 23 0001 26 0001 'k' 0001 'v'"),
			}, false,
		},
		{only3, "30 08 0006 efbbbf '/' c3a9", &Publish{Topic: []byte("\ufeff/é")}, false},
	})
}

// covers: 5:3.3.1-4 3:3.3.1-4 5:3.3.1-2
func TestPublishFlags(t *testing.T) {
	checkBad(t, []badCase{
		{all, "36 09 0001 't' 0001 00 'abc'", mqtt.MalformedPacket},
		{all, "3f 09 0001 't' 0001 00 'abc'", mqtt.MalformedPacket},
		{all, "38 06 0001 't' 00 'ab'", mqtt.MalformedPacket},
		{all, "39 06 0001 't' 00 'ab'", mqtt.MalformedPacket},
	})
	for flags := range byte(16) {
		_, err := Decode(mqtt.V5, 0x30|flags, unhex(t, "0001 't' 0001 00"))
		if want := flags&6 != 6 && flags != 8 && flags != 9; flags&6 != 0 && (err == nil) != want {
			t.Errorf("flags %x: %v", flags, err)
		}
	}
}

// covers: 5:3.3.2-1 3:3.3.2-1 E003
func TestPublishTopicText(t *testing.T) {
	checkBad(t, []badCase{
		{all, "30 05 0006 't' 00 00", mqtt.MalformedPacket}, // topic longer than the packet
		{all, "30 03 ffff 't'", mqtt.MalformedPacket},
		{all, "32 04 0002 't' 00", mqtt.MalformedPacket}, // identifier missing
		{all, "30 06 0003 eda080 00", mqtt.MalformedPacket},
		{all, "30 05 0002 c0af 00", mqtt.MalformedPacket},
		{all, "30 07 0004 f5808080 00", mqtt.MalformedPacket},
		{all, "30 05 0002 e282 00", mqtt.MalformedPacket},
		{all, "30 06 0003 'a' 00 'b' 00", mqtt.MalformedPacket},
		{all, "30 05 0002 'a' 01 00", mqtt.MalformedPacket},
		{all, "30 05 0002 c285 00", mqtt.MalformedPacket},
		{all, "30 06 0003 efbfbf 00", mqtt.MalformedPacket},
	})
}

// covers: 5:3.3.2-2 3:3.3.2-2 5:4.7.0-1
func TestPublishWildcard(t *testing.T) {
	checkBad(t, []badCase{
		{all, "30 06 0003 'a/#' 00", mqtt.TopicNameInvalid},
		{all, "30 06 0003 'a/+' 00", mqtt.TopicNameInvalid},
		{all, "30 06 0003 'a#b' 00", mqtt.TopicNameInvalid},
		{all, "30 04 0001 '+' 00", mqtt.TopicNameInvalid},
		{all, "30 0d 000a 'abcdefgh/+' 00", mqtt.TopicNameInvalid},
	})
	// 5.0 may refuse the message alone, for which its identifier must be known.
	var p Publish
	if err := p.Decode(mqtt.V5, 0x32, unhex(t, "0003 'a/+' 0007 00")); code(err) != mqtt.TopicNameInvalid || p.PacketID != 7 {
		t.Errorf("identifier %d, %v", p.PacketID, err)
	}
}

// covers: 5:U5-3.3.2.1-1 3:4.7.3-1 5:4.7.3-1
func TestPublishEmptyTopic(t *testing.T) {
	checkBad(t, []badCase{
		{only5, "30 05 0000 00 'ab'", mqtt.ProtocolError},
		{only5, "30 03 0000 00", mqtt.ProtocolError},
		{only5, "30 05 0000 02 01 00", mqtt.ProtocolError},
		{only5, "32 05 0000 0001 00", mqtt.ProtocolError},
		{only3, "30 04 0000 'ab'", mqtt.ProtocolError},
		{only3, "30 02 0000", mqtt.ProtocolError},
	})
}

// covers: 5:3.3.2-8
func TestPublishAliasZero(t *testing.T) {
	checkBad(t, []badCase{
		{only5, "30 07 0001 't' 03 23 0000", mqtt.TopicAliasInvalid},
		{only5, "30 06 0000 03 23 0000", mqtt.TopicAliasInvalid},
	})
}

// covers: 3:2.3.1-1 31:U31-19
func TestPublishIdentifierZero(t *testing.T) {
	checkBad(t, []badCase{
		{all, "32 07 0001 't' 0000 00 00", mqtt.ProtocolError},
		{all, "34 07 0001 't' 0000 00 00", mqtt.ProtocolError},
	})
}

// covers: E142
func TestPublishLongAndDeepTopics(t *testing.T) {
	for _, v := range versions {
		p := &Publish{Topic: bytes.Repeat([]byte("x"), mqtt.MaxString), Payload: []byte("p")}
		first, body := split(t, p.Append(nil, v))
		if got, err := checkDecode(t, v, first, body); err != nil || !same(got, p) {
			t.Errorf("%v: topic of 65535 bytes: %v", v, err)
		}
		p.Topic = []byte(strings.Repeat("/", mqtt.MaxTopicSlashes))
		first, body = split(t, p.Append(nil, v))
		if _, err := checkDecode(t, v, first, body); err != nil {
			t.Errorf("%v: 200 slashes: %v", v, err)
		}
		p.Topic = []byte(strings.Repeat("/", 10000))
		first, body = split(t, p.Append(nil, v))
		if _, err := checkDecode(t, v, first, body); code(err) != mqtt.TopicNameInvalid {
			t.Errorf("%v: 10,001 levels: %v", v, err)
		}
	}
}

func TestPublishPropSet(t *testing.T) {
	var p Publish
	if err := p.Decode(mqtt.V5, 0x30, unhex(t, "0001 't' 05 0b 05 23 0001 'x'")); err != nil {
		t.Fatal(err)
	}
	if p.PropSet != SetOf(PropSubscriptionID, PropTopicAlias) || p.PropSet != p.Props.Set() {
		t.Errorf("set %b, list %x", p.PropSet, []byte(p.Props))
	}
	if err := CheckRole(PUBLISH, false, p.PropSet); code(err) != mqtt.ProtocolError {
		t.Errorf("Subscription Identifier from a client: %v", err)
	}
	if err := p.Decode(mqtt.V5, 0x30, unhex(t, "0001 't' 00 'x'")); err != nil || p.PropSet != 0 || p.Props != nil {
		t.Errorf("a second Decode keeps the set: %+v, %v", p, err)
	}
}

// The header written in parts is the packet that Append writes.
func TestAppendPublishHeader(t *testing.T) {
	for seed := range uint64(200) {
		g := newGen(seed)
		for _, v := range versions {
			p := g.packet(PUBLISH, v).(*Publish)
			want := p.Append(nil, v)
			cut := 0
			if n := p.Props.first(); n != 0 {
				cut = n
			}
			first := PublishFirst(p.QoS, p.Dup, p.Retain)
			got := AppendPublishHeader([]byte("before"), first, v, string(p.Topic), p.PacketID, len(p.Payload), p.Props[:cut], nil, p.Props[cut:])
			if !bytes.Equal(append(got, p.Payload...), append([]byte("before"), want...)) {
				t.Fatalf("seed %d %v: %x, want %x", seed, v, got, want)
			}
			if n := PublishSize(v, len(p.Topic), p.QoS, len(p.Props), len(p.Payload)); n != len(want) {
				t.Fatalf("seed %d %v: size %d, want %d", seed, v, n, len(want))
			}
			at := PublishIDOffset(want)
			if p.QoS == 0 && at != 0 {
				t.Fatalf("seed %d %v: QoS 0 has an identifier at %d", seed, v, at)
			}
			if p.QoS != 0 {
				want[at], want[at+1] = 0xAB, 0xCD
				_, body := split(t, want)
				var q Publish
				if err := q.Decode(v, first, body); err != nil || q.PacketID != 0xABCD || !bytes.Equal(q.Payload, p.Payload) {
					t.Fatalf("seed %d %v: identifier written at %d: %+v, %v", seed, v, at, q, err)
				}
			}
			if topic, ok := PeekTopic(want[len(want)-len(p.Payload):]); ok && len(topic) > len(p.Payload) {
				t.Fatalf("seed %d %v: topic outside the body", seed, v)
			}
			_, body := split(t, p.Append(nil, v))
			if topic, ok := PeekTopic(body); !ok || !bytes.Equal(topic, p.Topic) {
				t.Fatalf("seed %d %v: topic %q, want %q", seed, v, topic, p.Topic)
			}
		}
	}
	for _, s := range []string{"", "32", "32 02 0001", "32 04 0001 't' 00", "40 02 0001", "30 03 0001 't'", "32 ff ff ff ff"} {
		if at := PublishIDOffset(unhex(t, s)); at != 0 {
			t.Errorf("%q has an identifier at %d", s, at)
		}
	}
}

func TestPublishFirst(t *testing.T) {
	for q, want := range map[mqtt.QoS]byte{0: 0x31, 1: 0x3b, 2: 0x3d} { // never DUP with QoS 0
		if got := PublishFirst(q, true, true); got != want {
			t.Errorf("QoS %v: %02x, want %02x", q, got, want)
		}
	}
	if got := PublishFirst(1, false, false); got != 0x32 {
		t.Errorf("%02x", got)
	}
}

func TestMessage(t *testing.T) {
	m := &mqtt.Message{
		Topic: "a/b", Payload: []byte("x"), QoS: 1, Retain: true, Dup: true, PacketID: 9,
		Properties: &mqtt.Properties{ContentType: "text", User: []mqtt.UserProperty{{Key: "k", Value: "v"}}},
	}
	first, body := split(t, FromMessage(m).Append(nil, mqtt.V5))
	var p Publish
	if err := p.Decode(mqtt.V5, first, body); err != nil {
		t.Fatal(err)
	}
	got := p.Message()
	clear(body) // the message owns its memory
	if !reflect.DeepEqual(got, m) {
		t.Errorf("got %+v, want %+v", got, m)
	}
}

func TestPublishDoesNotAllocate(t *testing.T) {
	_, three := split(t, unhex(t, "32 13 000b 'sensors/a/b' 0001 'data'"))
	_, five := split(t, unhex(t, "32 25 000b 'sensors/a/b' 0001 11 02 0000000a 26 0001 'k' 0001 'v' 0b 05 23 0001 'data'"))
	bad := unhex(t, "000b 'sensors/+/b' 0001 00")
	dst := make([]byte, 0, 256)
	var p Publish
	if n := testing.AllocsPerRun(200, func() {
		if err := p.Decode(mqtt.V311, 0x32, three); err != nil {
			t.Error(err)
		}
		if err := p.Decode(mqtt.V5, 0x32, bad); err == nil {
			t.Error("accepted")
		}
		if err := p.Decode(mqtt.V5, 0x32, five); err != nil {
			t.Error(err)
		}
		if _, ok := p.Props.Uint(PropTopicAlias); !ok {
			t.Error("no alias")
		}
		dst = p.Append(dst[:0], mqtt.V5)
		dst = AppendPublishHeader(dst[:0], 0x32, mqtt.V5, p.Topic, 7, len(p.Payload), p.Props, p.Props[:5])
		dst = AppendPublishHeader(dst[:0], 0x32, mqtt.V5, "a/b", 7, len(p.Payload), p.Props)
		dst = AppendExcept(dst[:0], p.Props, SetOf(PropSubscriptionID, PropTopicAlias))
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzPublish(f *testing.F) {
	fuzzPacket(f, PUBLISH, "30 05 0001 't' 'ab'", "32 08 0001 't' 0001 00 'ab'", "3d 0b 0001 't' 0001 03 23 0001 'ab'", "36 04 0001 't' 00",
		"30 06 0003 'a/#' 00", "30 1a 0003 'a/b' 13 01 01 02 0000000a 03 0001 'c' 0b 8001 26 0000 0000 'x'")
}

func benchDecode(b *testing.B, v mqtt.Version, p *Publish) {
	frame := p.Append(nil, v)
	b.ReportAllocs()
	b.SetBytes(int64(len(frame)))
	var got Publish
	for b.Loop() {
		first, _, n, err := ParseHeader(frame, v == mqtt.V5)
		if err != nil {
			b.Fatal(err)
		}
		if err := got.Decode(v, first, frame[n:]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPublishDecode(b *testing.B) {
	topic, payload := []byte("sensors/room 12/temperature"), make([]byte, 64)
	b.Run("3.1.1 QoS 0", func(b *testing.B) { benchDecode(b, mqtt.V311, &Publish{Topic: topic, Payload: payload}) })
	b.Run("3.1.1 QoS 1", func(b *testing.B) {
		benchDecode(b, mqtt.V311, &Publish{Topic: topic, QoS: 1, PacketID: 7, Payload: payload})
	})
	b.Run("5.0 QoS 0", func(b *testing.B) { benchDecode(b, mqtt.V5, &Publish{Topic: topic, Payload: payload}) })
	props := AppendPair(AppendUint(AppendUint(nil, PropMessageExpiry, 60), PropTopicAlias, 3), "unit", "celsius")
	b.Run("5.0 properties", func(b *testing.B) { benchDecode(b, mqtt.V5, &Publish{Topic: topic, Props: props, Payload: payload}) })
}

func BenchmarkPublishAppend(b *testing.B) {
	topic, payload := "sensors/room 12/temperature", make([]byte, 64)
	props := AppendUint(nil, PropMessageExpiry, 60)
	dst := make([]byte, 0, 256)
	b.Run("3.1.1 QoS 0", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			dst = append(AppendPublishHeader(dst[:0], 0x30, mqtt.V311, topic, 0, len(payload)), payload...)
		}
	})
	b.Run("5.0 QoS 1 properties", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			dst = append(AppendPublishHeader(dst[:0], 0x32, mqtt.V5, topic, 7, len(payload), props, props), payload...)
		}
	})
}
