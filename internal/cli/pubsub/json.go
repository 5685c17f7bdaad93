package pubsub

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// jsonValue is a piece of JSON that is written as the library of Mosquitto's tools writes it: same order, same numbers, same blanks.
type jsonValue interface {
	write(b []byte, pretty bool, depth int) []byte
}

type (
	jsonText   string
	jsonNumber float64
	jsonBool   bool
	jsonWord   string
	jsonArray  []jsonValue
	jsonObject []member
	member     struct {
		key   string
		value jsonValue
	}
)

const jsonNull = jsonWord("null")

func (v jsonWord) write(b []byte, _ bool, _ int) []byte { return append(b, v...) }

func (v jsonBool) write(b []byte, _ bool, _ int) []byte { return strconv.AppendBool(b, bool(v)) }

// write gives integers of 32 bits as such and others with 15 digits, or 17 where 15 do not tell the number.
func (v jsonNumber) write(b []byte, _ bool, _ int) []byte {
	f := float64(v)
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return append(b, "null"...)
	}
	if f == math.Trunc(f) && math.Abs(f) <= math.MaxInt32 {
		return strconv.AppendInt(b, int64(f), 10)
	}
	text := fmt.Sprintf("%.15g", f)
	back, err := strconv.ParseFloat(text, 64)
	if err != nil || math.Abs(back-f) > math.Max(math.Abs(back), math.Abs(f))*0x1p-52 {
		text = fmt.Sprintf("%.17g", f)
	}
	return append(b, text...)
}

// write escapes as little as possible. What is no UTF-8 becomes U+FFFD, for it would not be JSON.
func (v jsonText) write(b []byte, _ bool, _ int) []byte {
	b = append(b, '"')
	for _, r := range string(v) {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\b':
			b = append(b, `\b`...)
		case r == '\f':
			b = append(b, `\f`...)
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\r':
			b = append(b, `\r`...)
		case r == '\t':
			b = append(b, `\t`...)
		case r < ' ':
			b = fmt.Appendf(b, `\u%04x`, r)
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}

func (v jsonArray) write(b []byte, pretty bool, depth int) []byte {
	b = append(b, '[')
	for i, e := range v {
		if i > 0 {
			b = append(b, ',')
			if pretty {
				b = append(b, ' ')
			}
		}
		b = e.write(b, pretty, depth+1)
	}
	return append(b, ']')
}

func (v jsonObject) write(b []byte, pretty bool, depth int) []byte {
	b = append(b, '{')
	line := func(depth int) {
		if pretty {
			b = append(append(b, '\n'), strings.Repeat("\t", depth)...)
		}
	}
	for i, m := range v {
		if i > 0 {
			b = append(b, ',')
		}
		line(depth + 1)
		b = append(jsonText(m.key).write(b, pretty, 0), ':')
		if pretty {
			b = append(b, '\t')
		}
		b = m.value.write(b, pretty, depth+1)
	}
	line(depth)
	return append(b, '}')
}

// parseJSON reads a payload, keeping the order of keys.
func parseJSON(payload []byte) (jsonValue, error) {
	d := json.NewDecoder(bytes.NewReader(payload))
	d.UseNumber()
	v, err := nextJSON(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("text behind the value")
	}
	return v, nil
}

// maxDepth bounds how deep arrays and objects stand in each other: a payload of brackets must not eat the stack.
const maxDepth = 1000

// nextJSON reads one value.
func nextJSON(d *json.Decoder, depth int) (jsonValue, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("deeper than %d levels", maxDepth)
	}
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case json.Delim:
		if t == '{' {
			return objectJSON(d, depth)
		}
		return arrayJSON(d, depth)
	case string:
		return jsonText(t), nil
	case json.Number:
		f, err := t.Float64()
		if err != nil && !math.IsInf(f, 0) {
			return nil, err
		}
		return jsonNumber(f), nil
	case bool:
		return jsonBool(t), nil
	}
	return jsonNull, nil
}

func objectJSON(d *json.Decoder, depth int) (jsonValue, error) {
	object := jsonObject{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		v, err := nextJSON(d, depth+1)
		if err != nil {
			return nil, err
		}
		name, _ := key.(string)
		object = append(object, member{name, v})
	}
	_, err := d.Token()
	return object, err
}

func arrayJSON(d *json.Decoder, depth int) (jsonValue, error) {
	array := jsonArray{}
	for d.More() {
		v, err := nextJSON(d, depth+1)
		if err != nil {
			return nil, err
		}
		array = append(array, v)
	}
	_, err := d.Token()
	return array, err
}
