package script

import (
	"bytes"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/midgemq/midge/internal/testkit/rawmqtt"
)

// Pseudo packet types of expectations.
const (
	wantClose   byte = 100 + iota // the server closes the connection
	wantNothing                   // proved by a fence, not by waiting
	wantError                     // the version's way of ending a connection for a fault
	wantRefused                   // the version's way of refusing a CONNECT
	wantBytes                     // exact bytes
)

var expectTypes = map[string]byte{
	"CONNACK": rawmqtt.CONNACK, "PUBLISH": rawmqtt.PUBLISH, "PUBACK": rawmqtt.PUBACK, "PUBREC": rawmqtt.PUBREC,
	"PUBREL": rawmqtt.PUBREL, "PUBCOMP": rawmqtt.PUBCOMP, "SUBACK": rawmqtt.SUBACK, "UNSUBACK": rawmqtt.UNSUBACK,
	"PINGRESP": rawmqtt.PINGRESP, "DISCONNECT": rawmqtt.DISCONNECT, "AUTH": rawmqtt.AUTH,
	"CLOSE": wantClose, "NOTHING": wantNothing, "ERROR": wantError, "REFUSED": wantRefused, "BYTES": wantBytes,
}

// matcher is one expected packet.
type matcher struct {
	typ      byte
	src      string
	optional bool
	ack      bool // finish the delivery's handshake on the client's behalf

	topic, payload *word
	fields         map[string]word // id, reason, qos, dup, retain, session, codes
	props          []word
	absent         map[byte]bool
	bytes          []byte
}

// step is one link of "A then B": alternatives, one of which must come.
type step []*matcher

// buildExpect reads everything behind "<-".
func (e *env) buildExpect(words []word, v byte) ([]step, error) {
	var chain []step
	var alts step
	start := 0
	flush := func(end int) error {
		m, err := e.buildMatcher(words[start:end], v)
		alts = append(alts, m)
		start = end + 1
		return err
	}
	for i, w := range words {
		switch {
		case w.is("|"):
			if err := flush(i); err != nil {
				return nil, err
			}
		case w.is("then"):
			if err := flush(i); err != nil {
				return nil, err
			}
			chain, alts = append(chain, alts), nil
		}
	}
	if err := flush(len(words)); err != nil {
		return nil, err
	}
	chain = append(chain, alts)
	for _, alts := range chain {
		for _, m := range alts {
			if len(alts) > 1 && m.typ >= wantClose && m.typ != wantBytes {
				return nil, fmt.Errorf("%s: only packets can be alternatives", m.src)
			}
		}
	}
	if last := chain[len(chain)-1]; last[0].optional {
		return nil, fmt.Errorf("%s: an optional packet needs something behind it", last[0].src)
	}
	return chain, nil
}

func (e *env) buildMatcher(words []word, v byte) (*matcher, error) {
	if len(words) == 0 {
		return nil, fmt.Errorf("a packet is wanted behind <-")
	}
	name, optional := strings.CutSuffix(words[0].src, "?")
	t, ok := expectTypes[name]
	if !ok {
		return nil, fmt.Errorf("unknown packet %q", words[0].src)
	}
	m := &matcher{typ: t, optional: optional, fields: map[string]word{}, absent: map[byte]bool{}}
	for _, w := range words {
		m.src += w.src + " "
	}
	m.src = strings.TrimSpace(m.src)
	if t == wantBytes {
		b, err := e.rawBytes(words[1:])
		m.bytes = b
		return m, err
	}
	for _, w := range words[1:] {
		if !e.holds(w.cond) {
			continue
		}
		if err := m.word(w, v); err != nil {
			return nil, err
		}
	}
	if t == rawmqtt.PUBLISH && (m.topic == nil || m.payload == nil) {
		return nil, fmt.Errorf("%s: PUBLISH wants a topic and a payload (or *)", m.src)
	}
	return m, nil
}

// fieldsOf lists the name=value fields of each expectation besides properties.
var fieldsOf = map[byte][]string{
	rawmqtt.CONNACK: {"reason", "code", "session"}, rawmqtt.PUBLISH: {"qos", "id", "dup", "retain", "payload"},
	rawmqtt.PUBACK: {"id", "reason"}, rawmqtt.PUBREC: {"id", "reason"}, rawmqtt.PUBREL: {"id", "reason"},
	rawmqtt.PUBCOMP: {"id", "reason"}, rawmqtt.SUBACK: {"id", "codes"}, rawmqtt.UNSUBACK: {"id", "codes"},
	rawmqtt.DISCONNECT: {"reason"}, rawmqtt.AUTH: {"reason"},
}

func (m *matcher) word(w word, v byte) error {
	name, not := strings.CutPrefix(w.name, "-")
	if w.name == "" && strings.HasPrefix(w.value, "-") && !w.quoted {
		name, not = w.value[1:], true
	}
	if info, ok := rawmqtt.PropByName(name); ok {
		if v != rawmqtt.V5 {
			return fmt.Errorf("%s: a property on a 3.x connection; write [v5]%s", w.src, w.src)
		}
		if not {
			m.absent[info.ID] = true
		} else {
			m.props = append(m.props, w)
		}
		return nil
	}
	switch {
	case w.is("ack") && m.typ == rawmqtt.PUBLISH:
		m.ack = true
	case (w.is("retain") || w.is("dup")) && m.typ == rawmqtt.PUBLISH:
		m.fields[w.value] = word{value: "1", src: w.src}
	case w.name == "payload" && m.typ == rawmqtt.PUBLISH:
		m.payload = &w
	case w.name != "" && slices.Contains(fieldsOf[m.typ], w.name):
		if w.name == "code" {
			w.name = "reason"
		}
		m.fields[w.name] = w
	case w.name == "" && m.typ == rawmqtt.PUBLISH && m.topic == nil:
		m.topic = &w
	case w.name == "" && m.typ == rawmqtt.PUBLISH && m.payload == nil:
		m.payload = &w
	case w.name == "" && (m.typ == wantError || m.typ == wantRefused):
		m.fields["reason"] = w
	default:
		return fmt.Errorf("%s does not belong into %s", w.src, m.src)
	}
	return nil
}

// ignorable are properties that a server may add unasked and that a script need
// not list; the Checker judges whether they were allowed.
var ignorable = map[byte][]string{
	rawmqtt.CONNACK: {
		"receive-maximum", "maximum-qos", "topic-alias-maximum", "maximum-packet-size", "retain-available",
		"wildcard-subscription-available", "subscription-identifier-available", "shared-subscription-available",
		"assigned-client-identifier", "authentication-method", "reason-string", "user-property",
	},
	rawmqtt.PUBLISH: {"topic-alias"},
	rawmqtt.PUBACK:  {"reason-string", "user-property"}, rawmqtt.PUBREC: {"reason-string", "user-property"},
	rawmqtt.PUBREL: {"reason-string", "user-property"}, rawmqtt.PUBCOMP: {"reason-string", "user-property"},
	rawmqtt.SUBACK: {"reason-string", "user-property"}, rawmqtt.UNSUBACK: {"reason-string", "user-property"},
	rawmqtt.DISCONNECT: {"reason-string", "user-property"},
	rawmqtt.AUTH:       {"reason-string", "user-property", "authentication-method"},
}

// match compares a received packet with what is expected; nil means it fits.
// Variables that a fit binds are set only when everything fits.
func (m *matcher) match(e *env, p *rawmqtt.Packet, v byte) error {
	if m.typ == wantBytes {
		if !bytes.Equal(m.bytes, p.Raw) {
			return fmt.Errorf("bytes % X", p.Raw)
		}
		return nil
	}
	if p.Type != m.typ {
		return fmt.Errorf("another packet")
	}
	try := &binding{env: e, bound: map[string]string{}}
	for _, f := range m.numbers(p, v) {
		if err := try.number(f.w, f.got, f.name); err != nil {
			return err
		}
	}
	if m.typ == rawmqtt.PUBLISH {
		if err := try.text(*m.topic, p.Topic, "topic"); err != nil {
			return err
		}
		if err := try.text(*m.payload, string(p.Payload), "payload"); err != nil {
			return err
		}
	}
	if err := m.codes(p, v); err != nil {
		return err
	}
	if v == rawmqtt.V5 {
		if err := m.matchProps(try, p); err != nil {
			return err
		}
	}
	for k, val := range try.bound {
		e.vars[k] = val
	}
	return nil
}

type numField struct {
	name string
	w    word
	got  uint64
}

// numbers pairs the packet's numeric fields with what is expected of them; the
// defaults of fields that are not written are here.
func (m *matcher) numbers(p *rawmqtt.Packet, v byte) (out []numField) {
	add := func(name, def string, got uint64) {
		w, ok := m.fields[name]
		if !ok {
			w = word{value: def, src: name + "=" + def}
		}
		out = append(out, numField{name, w, got})
	}
	bit := func(b bool) uint64 {
		if b {
			return 1
		}
		return 0
	}
	switch p.Type {
	case rawmqtt.CONNACK:
		add("reason", "0", uint64(p.Reason))
		add("session", "0", bit(p.SessionPresent))
	case rawmqtt.PUBLISH:
		add("qos", "0", uint64(p.QoS()))
		add("dup", "0", bit(p.Dup()))
		add("retain", "0", bit(p.Retain()))
		add("id", "*", uint64(p.ID))
	case rawmqtt.PUBACK, rawmqtt.PUBREC:
		add("id", "*", uint64(p.ID))
		if v == rawmqtt.V5 {
			add("reason", "0|0x10", uint64(p.Reason))
		}
	case rawmqtt.PUBREL, rawmqtt.PUBCOMP:
		add("id", "*", uint64(p.ID))
		if v == rawmqtt.V5 {
			add("reason", "0", uint64(p.Reason))
		}
	case rawmqtt.SUBACK, rawmqtt.UNSUBACK:
		add("id", "*", uint64(p.ID))
	case rawmqtt.DISCONNECT, rawmqtt.AUTH:
		add("reason", "0", uint64(p.Reason))
	}
	return out
}

// codes compares SUBACK and UNSUBACK lists; each code may have alternatives.
func (m *matcher) codes(p *rawmqtt.Packet, v byte) error {
	w, ok := m.fields["codes"]
	if !ok || w.value == "*" || (p.Type == rawmqtt.UNSUBACK && v != rawmqtt.V5) {
		return nil
	}
	want := strings.Split(w.value, ",")
	fits := len(want) == len(p.Codes)
	for i := 0; fits && i < len(want); i++ {
		fits = numberFits(want[i], uint64(p.Codes[i]))
	}
	if !fits {
		return fmt.Errorf("codes % X instead of %s", p.Codes, w.value)
	}
	return nil
}

// binding collects variables while a packet is compared.
type binding struct {
	*env
	bound map[string]string
}

// bind handles a value that is a bare unset variable.
func (b *binding) bind(w word, got string) (handled bool) {
	if w.quoted || !strings.HasPrefix(w.value, "$") {
		return false
	}
	name := strings.Trim(w.value[1:], "{}")
	if m := reVar.FindString(w.value); m != w.value || reserved[name] || name == "v" {
		return false
	}
	if _, set := b.vars[name]; set {
		return false
	}
	if old, set := b.bound[name]; set {
		return old == got
	}
	b.bound[name] = got
	return true
}

func (b *binding) number(w word, got uint64, what string) error {
	if w.value == "*" || b.bind(w, strconv.FormatUint(got, 10)) {
		return nil
	}
	s, err := b.expand(w.value)
	if err != nil {
		return err
	}
	if !numberFits(s, got) {
		return fmt.Errorf("%s %d (0x%X) instead of %s", what, got, got, s)
	}
	return nil
}

// numberFits understands 5, 0x82, 1|2, 3..5 and !4.
func numberFits(want string, got uint64) bool {
	for _, alt := range strings.Split(want, "|") {
		if not, ok := strings.CutPrefix(alt, "!"); ok {
			if n, err := strconv.ParseUint(not, 0, 64); err == nil && n != got {
				return true
			}
			continue
		}
		lo, hi, isRange := strings.Cut(alt, "..")
		if !isRange {
			hi = lo
		}
		a, errA := strconv.ParseUint(lo, 0, 64)
		z, errZ := strconv.ParseUint(hi, 0, 64)
		if errA == nil && errZ == nil && a <= got && got <= z {
			return true
		}
	}
	return false
}

func (b *binding) text(w word, got, what string) error {
	if !w.quoted && (w.value == "*" || b.bind(w, got)) {
		return nil
	}
	want, err := b.env.text(w)
	if err != nil {
		return err
	}
	if want != got {
		return fmt.Errorf("%s %s instead of %s", what, short(got), short(want))
	}
	return nil
}

func short(s string) string {
	if len(s) > 100 {
		return fmt.Sprintf("%q…(%d bytes)", s[:50], len(s))
	}
	return strconv.Quote(s)
}

// matchProps compares properties: those listed must be there with that value and
// in that number, those not listed must be absent unless they are ignorable.
// User properties keep their order; subscription identifiers have none.
func (m *matcher) matchProps(b *binding, p *rawmqtt.Packet) error {
	want, got := map[string][]word{}, map[string][]rawmqtt.Prop{}
	for _, w := range m.props {
		want[w.name] = append(want[w.name], w)
	}
	for _, q := range p.Props {
		if m.absent[q.ID] {
			return fmt.Errorf("%s=%s must not be there", q.Name(), q.Value())
		}
		got[q.Name()] = append(got[q.Name()], q)
	}
	for name, list := range got {
		// Mosquitto 2.0 answers keep alive 0 with its maximum.
		if b.foreign && name == "server-keep-alive" && len(want[name]) == 0 {
			continue
		}
		if len(want[name]) == 0 && !slices.Contains(ignorable[p.Type], name) {
			return fmt.Errorf("%s=%s is not expected", name, short(list[0].Value()))
		}
	}
	for name, list := range want {
		have := got[name]
		if len(have) != len(list) {
			return fmt.Errorf("%d of %s instead of %d", len(have), name, len(list))
		}
		if name == "subscription-identifier" {
			sort.Slice(have, func(i, j int) bool { return have[i].Num < have[j].Num })
			sort.Slice(list, func(i, j int) bool {
				x, _ := strconv.Atoi(list[i].value)
				y, _ := strconv.Atoi(list[j].value)
				return x < y
			})
		}
		for i, w := range list {
			if err := b.propValue(w, have[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *binding) propValue(w word, got rawmqtt.Prop) error {
	info, _ := rawmqtt.PropByID(got.ID)
	switch info.Kind {
	case rawmqtt.String, rawmqtt.Binary, rawmqtt.Pair:
		return b.text(w, got.Value(), w.name)
	default: // the others need nothing
	}
	return b.number(w, uint64(got.Num), w.name)
}
