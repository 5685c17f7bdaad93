package packet

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/midgemq/midge/mqtt"
)

// full has every property; each packet takes from it what it may carry.
func full() *mqtt.Properties {
	return &mqtt.Properties{
		PayloadFormat: new(byte(0)), MessageExpiry: new(uint32(0)), ContentType: "text/plain", ResponseTopic: "r/1",
		CorrelationData: []byte{0, 1}, SubscriptionIDs: []uint32{1, mqtt.MaxSubscriptionID}, SessionExpiry: new(uint32(mqtt.NeverExpires)),
		AssignedClientID: "assigned", ServerKeepAlive: new(uint16(0)), AuthMethod: "SCRAM", AuthData: []byte{},
		RequestProblemInfo: new(false), WillDelay: 5, RequestResponseInfo: true, ResponseInfo: "info", ServerReference: "other:1883",
		ReasonString: "because", ReceiveMaximum: 20, TopicAliasMaximum: 10, TopicAlias: 3, MaximumQoS: new(byte(0)),
		RetainAvailable: new(false), MaximumPacketSize: 1024, WildcardAvailable: new(true), SubscriptionIDAvailable: new(false),
		SharedAvailable: new(false), User: []mqtt.UserProperty{{Key: "k", Value: "1"}, {Key: "", Value: ""}, {Key: "k", Value: "2"}},
	}
}

// fields names the struct field of each property.
var fields = map[PropID]string{
	0x01: "PayloadFormat", 0x02: "MessageExpiry", 0x03: "ContentType", 0x08: "ResponseTopic", 0x09: "CorrelationData",
	0x0B: "SubscriptionIDs", 0x11: "SessionExpiry", 0x12: "AssignedClientID", 0x13: "ServerKeepAlive", 0x15: "AuthMethod", 0x16: "AuthData",
	0x17: "RequestProblemInfo", 0x18: "WillDelay", 0x19: "RequestResponseInfo", 0x1A: "ResponseInfo", 0x1C: "ServerReference",
	0x1F: "ReasonString", 0x21: "ReceiveMaximum", 0x22: "TopicAliasMaximum", 0x23: "TopicAlias", 0x24: "MaximumQoS",
	0x25: "RetainAvailable", 0x26: "User", 0x27: "MaximumPacketSize", 0x28: "WildcardAvailable", 0x29: "SubscriptionIDAvailable",
	0x2A: "SharedAvailable",
}

func TestPropertiesFriendly(t *testing.T) {
	if n := reflect.TypeFor[mqtt.Properties]().NumField(); n != propCount || len(fields) != propCount || len(oneProp) != propCount {
		t.Fatalf("%d fields, %d names, %d encodings, want %d", n, len(fields), len(oneProp), propCount)
	}
	for typ := CONNECT; typ <= WILL; typ++ {
		p := full()
		v := reflect.ValueOf(p).Elem()
		if typ == SUBSCRIBE {
			p.SubscriptionIDs = p.SubscriptionIDs[1:]
		}
		for id, name := range fields { // alone: refused where it is not allowed, and then not written
			alone := new(mqtt.Properties)
			reflect.ValueOf(alone).Elem().FieldByName(name).Set(v.FieldByName(name))
			err := CheckProperties(typ, alone)
			list := AppendProperties(nil, typ, alone)
			if allowed := PropAllowed(typ, id); (err == nil) != allowed || (len(list) > 0) != allowed {
				t.Errorf("%v in %v: %v, written %x", id, typ, err, list)
			}
			if err != nil && !strings.Contains(err.Error(), id.String()) {
				t.Errorf("%v in %v: the error does not name it: %v", id, typ, err)
			}
		}
		want := new(mqtt.Properties)
		for id, name := range fields {
			if PropAllowed(typ, id) {
				reflect.ValueOf(want).Elem().FieldByName(name).Set(v.FieldByName(name))
			}
		}
		if !hasType(typ) {
			continue
		}
		list, err := decodeProps(t, typ, AppendProperties(nil, typ, p))
		if err != nil {
			t.Errorf("%v: %v", typ, err)
			continue
		}
		if got := list.Parse(); !reflect.DeepEqual(got, want) {
			t.Errorf("%v:\n got %+v\nwant %+v", typ, got, want)
		}
		if err := CheckProperties(typ, want); err != nil {
			t.Errorf("%v: %v", typ, err)
		}
	}
}

// Any legal list, read and written in the friendly form, stays the same in that form.
func TestPropertiesFriendlyRandom(t *testing.T) {
	for seed := range uint64(300) {
		g := newGen(seed)
		for typ := CONNECT; typ <= WILL; typ++ {
			if !hasType(typ) {
				continue
			}
			once := g.props(typ, PropAuthMethod).Parse()
			twice := Props(AppendProperties(nil, typ, once)).Parse()
			if once == nil {
				once = new(mqtt.Properties)
			}
			if twice == nil { // nothing but empty text, which the friendly form does not tell from absence
				twice = new(mqtt.Properties)
			}
			if !reflect.DeepEqual(once, twice) {
				t.Fatalf("seed %d %v:\n had %+v\n got %+v", seed, typ, once, twice)
			}
		}
	}
}

func TestPropertiesNil(t *testing.T) {
	if m := Props(nil).Parse(); m != nil {
		t.Errorf("an empty list is %+v", m)
	}
	if b := AppendProperties([]byte{1}, PUBLISH, nil); !bytes.Equal(b, []byte{1}) {
		t.Errorf("nil is written as %x", b)
	}
	if err := CheckProperties(PUBLISH, nil); err != nil {
		t.Error(err)
	}
}

// The friendly copy must not change when the buffer is used again.
func TestParseOwnsItsMemory(t *testing.T) {
	list := unhex(t, "03 0004 'text' 09 0002 'ab' 26 0001 'k' 0001 'v'")
	m := Props(list).Parse()
	clear(list)
	if m.ContentType != "text" || string(m.CorrelationData) != "ab" || m.User[0] != (mqtt.UserProperty{Key: "k", Value: "v"}) {
		t.Errorf("%+v", m)
	}
}

func TestCheckPropertiesValues(t *testing.T) {
	long := strings.Repeat("x", mqtt.MaxString+1)
	for name, c := range map[string]struct {
		t Type
		p mqtt.Properties
	}{
		"control character":        {PUBLISH, mqtt.Properties{ContentType: "a\x01"}},
		"broken text":              {CONNACK, mqtt.Properties{ReasonString: "\xff"}},
		"long text":                {CONNACK, mqtt.Properties{ReasonString: long}},
		"long data":                {PUBLISH, mqtt.Properties{CorrelationData: []byte(long)}},
		"wildcard response topic":  {PUBLISH, mqtt.Properties{ResponseTopic: "r/#"}},
		"subscription id 0":        {SUBSCRIBE, mqtt.Properties{SubscriptionIDs: []uint32{0}}},
		"subscription id too big":  {SUBSCRIBE, mqtt.Properties{SubscriptionIDs: []uint32{mqtt.MaxSubscriptionID + 1}}},
		"two subscription ids":     {SUBSCRIBE, mqtt.Properties{SubscriptionIDs: []uint32{1, 2}}},
		"payload format 2":         {PUBLISH, mqtt.Properties{PayloadFormat: new(byte(2))}},
		"maximum QoS 2":            {CONNACK, mqtt.Properties{MaximumQoS: new(byte(2))}},
		"user property, NUL name":  {PUBACK, mqtt.Properties{User: []mqtt.UserProperty{{Key: "\x00"}}}},
		"user property, bad value": {PUBACK, mqtt.Properties{User: []mqtt.UserProperty{{Key: "k", Value: "\xed\xa0\x80"}}}},
		"user property, long":      {PUBACK, mqtt.Properties{User: []mqtt.UserProperty{{Key: long}}}},
		"ping":                     {PINGREQ, mqtt.Properties{User: []mqtt.UserProperty{{Key: "k"}}}},
	} {
		if err := CheckProperties(c.t, &c.p); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
