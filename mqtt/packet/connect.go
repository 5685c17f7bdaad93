package packet

import "github.com/midgemq/midge/mqtt"

// Connect opens a connection.
type Connect struct {
	Version    mqtt.Version
	Bridge     bool // level with its top bit set, 0x83 or 0x84: another broker's bridge, not part of the standard [U31-30]
	CleanStart bool // Clean Session before 5.0
	KeepAlive  uint16
	ClientID   []byte
	Props      Props

	WillFlag    bool
	WillQoS     mqtt.QoS
	WillRetain  bool
	WillProps   Props
	WillTopic   []byte
	WillPayload []byte

	HasUserName, HasPassword bool
	UserName, Password       []byte

	replyIn mqtt.Version
}

const (
	nameMQTT   = "MQTT"
	nameMQIsdp = "MQIsdp"

	connectReserved   = 1 << 0
	connectCleanStart = 1 << 1
	connectWill       = 1 << 2
	connectWillQoS    = 3 << 3
	connectWillRetain = 1 << 5
	connectPassword   = 1 << 6
	connectUserName   = 1 << 7

	bridgeBit = 0x80
)

// Decode reads the body of a CONNECT, whose version it finds inside. An unsupported level or protocol name is an *Error with
// UnsupportedProtocolVersion; Version is then the level asked for, 0 if the name is unknown, and ReplyVersion tells how to answer.
// On other errors Version is valid when it had been read before the fault.
func (p *Connect) Decode(first byte, body []byte) error {
	*p = Connect{}
	rest, e := p.decodeVersion(body)
	if e != nil {
		return e
	}
	v := p.Version
	if e = checkFlags(v, first, CONNECT); e != nil {
		return e
	}
	if len(rest) < 3 {
		return faultShort.in(CONNECT)
	}
	flags := rest[0]
	if e = checkConnectFlags(v, flags); e != nil {
		return e
	}
	p.CleanStart = flags&connectCleanStart != 0
	p.KeepAlive = uint16(rest[1])<<8 | uint16(rest[2])
	rest = rest[3:]
	if v == mqtt.V5 {
		var set PropSet
		if p.Props, set, rest, e = readProps(rest, CONNECT); e != nil {
			return e
		}
		if set.Has(PropAuthData) && !set.Has(PropAuthMethod) {
			return faultAuthData.in(CONNECT)
		}
	}
	if p.ClientID, rest, e = text(rest, CONNECT); e != nil {
		return e
	}
	if flags&connectWill != 0 {
		if rest, e = p.decodeWill(flags, rest); e != nil {
			return e
		}
	}
	rest, e = p.decodeCredentials(flags, rest)
	return result(finish(rest, CONNECT, e))
}

func (p *Connect) decodeVersion(body []byte) (rest []byte, e *Error) {
	name, rest, ok := field(body)
	if !ok {
		return nil, faultShort.in(CONNECT)
	}
	old := string(name) == nameMQIsdp
	if !old && string(name) != nameMQTT {
		return nil, faultProtocolName.in(CONNECT)
	}
	if len(rest) == 0 {
		return nil, faultShort.in(CONNECT)
	}
	level := rest[0]
	p.Version = mqtt.Version(level)
	if old && level&^bridgeBit == byte(mqtt.V31) || !old && level&^bridgeBit == byte(mqtt.V311) {
		p.Version = mqtt.Version(level &^ bridgeBit)
		p.Bridge = level&bridgeBit != 0
	} else if old || p.Version != mqtt.V5 {
		p.replyIn = mqtt.V311
		if !old && p.Version > mqtt.V5 {
			p.replyIn = mqtt.V5
		}
		return nil, faultProtocolLevel.in(CONNECT)
	}
	p.replyIn = p.Version
	return rest[1:], nil
}

// ReplyVersion is the version in whose form a CONNACK to this packet must be written for the client to read it (E016): that of the
// client where it is supported, 5.0 for MQTT above 5, 3.1.1 for any other level; 0 when the client must not be answered at all.
func (p *Connect) ReplyVersion() mqtt.Version { return p.replyIn }

// checkConnectFlags judges the connect flags. 3.1 has no reserved bit [U31-11] and disregards will QoS and will retain without a
// will; a password without a user name is wrong there as in 3.1.1 [U31-14].
func checkConnectFlags(v mqtt.Version, flags byte) *Error {
	if v != mqtt.V5 && flags&connectPassword != 0 && flags&connectUserName == 0 {
		return faultPassword.in(CONNECT)
	}
	if flags&connectWill != 0 && flags&connectWillQoS == connectWillQoS {
		return faultWillQoS.in(CONNECT)
	}
	if v == mqtt.V31 {
		return nil
	}
	if flags&connectReserved != 0 {
		return faultConnectReserved.in(CONNECT)
	}
	if flags&connectWill == 0 && flags&(connectWillQoS|connectWillRetain) != 0 {
		return faultWillBits.in(CONNECT)
	}
	return nil
}

func (p *Connect) decodeWill(flags byte, b []byte) (rest []byte, e *Error) {
	p.WillFlag = true
	p.WillQoS = mqtt.QoS(flags & connectWillQoS >> 3)
	p.WillRetain = flags&connectWillRetain != 0
	if p.Version == mqtt.V5 {
		if p.WillProps, _, b, e = readProps(b, WILL); e != nil {
			return nil, e
		}
	}
	var ok bool
	if p.WillTopic, b, ok = field(b); !ok {
		return nil, faultShort.in(WILL)
	}
	if e = checkTopic(p.WillTopic, WILL); e != nil {
		return nil, e
	}
	if p.WillPayload, b, ok = field(b); !ok {
		return nil, faultShort.in(WILL)
	}
	return b, nil
}

// decodeCredentials reads user name and password. In 3.1 the Remaining Length wins over the flags: a field that is flagged but
// wholly missing counts as not given [U31-12, U31-13].
func (p *Connect) decodeCredentials(flags byte, b []byte) (rest []byte, e *Error) {
	lenient := p.Version == mqtt.V31
	if flags&connectUserName != 0 && !(lenient && len(b) == 0) {
		p.HasUserName = true
		if p.UserName, b, e = text(b, CONNECT); e != nil {
			return nil, e
		}
	}
	if flags&connectPassword != 0 && !(lenient && len(b) == 0) {
		p.HasPassword = true
		var ok bool
		if p.Password, b, ok = field(b); !ok {
			return nil, faultShort.in(CONNECT)
		}
	}
	return b, nil
}

// text reads a text field and judges its characters.
func text(b []byte, t Type) (s, rest []byte, e *Error) {
	s, rest, ok := field(b)
	if !ok {
		return nil, nil, faultShort.in(t)
	}
	if !mqtt.ValidUTF8(s) {
		return nil, nil, faultText.in(t)
	}
	return s, rest, nil
}

// Kind is CONNECT.
func (p *Connect) Kind() Type { return CONNECT }

// Size is the number of bytes Append writes.
func (p *Connect) Size(v mqtt.Version) int { return frameSize(p.remaining(p.encodeAs(v))) }

// encodeAs lets v 0 mean the packet's own version.
func (p *Connect) encodeAs(v mqtt.Version) mqtt.Version {
	if v == 0 {
		return p.Version
	}
	return v
}

func (p *Connect) remaining(v mqtt.Version) int {
	n := 2 + len(nameMQTT) + 4 + 2 + len(p.ClientID)
	if v == mqtt.V31 {
		n += len(nameMQIsdp) - len(nameMQTT)
	}
	if v == mqtt.V5 {
		n += propsSize(p.Props)
	}
	if p.WillFlag {
		n += 4 + len(p.WillTopic) + len(p.WillPayload)
		if v == mqtt.V5 {
			n += propsSize(p.WillProps)
		}
	}
	if p.HasUserName {
		n += 2 + len(p.UserName)
	}
	if p.HasPassword {
		n += 2 + len(p.Password)
	}
	return n
}

func (p *Connect) flags() byte {
	var b byte
	if p.CleanStart {
		b |= connectCleanStart
	}
	if p.WillFlag {
		b |= connectWill | byte(p.WillQoS)<<3
		if p.WillRetain {
			b |= connectWillRetain
		}
	}
	if p.HasUserName {
		b |= connectUserName
	}
	if p.HasPassword {
		b |= connectPassword
	}
	return b
}

// Append writes the packet for version v, or for p.Version when v is 0. Below 5.0 the properties are left out.
func (p *Connect) Append(dst []byte, v mqtt.Version) []byte {
	v = p.encodeAs(v)
	dst = appendHeader(dst, CONNECT.FirstByte(), p.remaining(v))
	if v == mqtt.V31 {
		dst = appendField(dst, nameMQIsdp)
	} else {
		dst = appendField(dst, nameMQTT)
	}
	level := byte(v)
	if p.Bridge && v != mqtt.V5 {
		level |= bridgeBit
	}
	dst = append(dst, level, p.flags(), byte(p.KeepAlive>>8), byte(p.KeepAlive))
	if v == mqtt.V5 {
		dst = appendProps(dst, p.Props)
	}
	dst = appendField(dst, p.ClientID)
	if p.WillFlag {
		if v == mqtt.V5 {
			dst = appendProps(dst, p.WillProps)
		}
		dst = appendField(appendField(dst, p.WillTopic), p.WillPayload)
	}
	if p.HasUserName {
		dst = appendField(dst, p.UserName)
	}
	if p.HasPassword {
		dst = appendField(dst, p.Password)
	}
	return dst
}
