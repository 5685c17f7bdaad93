package device

import (
	"bytes"
	"context"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"

	"github.com/midgemq/midge/client"
	"github.com/midgemq/midge/mqtt"
)

// Publish sends a value under the prefix, as Options.How says.
func (d *Device) Publish(ctx context.Context, name string, value any) error {
	return d.PublishAs(ctx, name, value, d.opts.How)
}

// PublishAs encodes a value as JSON, sends it to the topic "id/name" and waits until it is delivered as far as its QoS
// promises. Values that JSON has no form for are refused before anything is sent: NaN and the infinities, channels,
// functions, and data that contain themselves. Two calls for one name at the same time have no order.
//
// The error is a *client.Error or, of an expanded array, several of them joined: client.SafeToRetry and client.ReasonOf then
// answer for the first. When the context ends, messages of an expanded array that were accepted stay under way.
func (d *Device) PublishAs(ctx context.Context, name string, value any, how How) error {
	messages, err := d.messages(name, value, how)
	if err != nil {
		return &client.Error{Op: "publish", Outcome: client.NotSent, Err: fmt.Errorf("topic %q: %w", name, err)}
	}
	if len(messages) == 1 {
		return d.c.Publish(ctx, messages[0])
	}
	var errs []error
	pending := make([]*client.Publication, 0, len(messages))
	for _, m := range messages {
		p, err := d.c.PublishAsync(ctx, m)
		if err != nil {
			errs = append(errs, err)
			break
		}
		pending = append(pending, p)
	}
	for _, p := range pending {
		errs = append(errs, p.Wait(ctx))
	}
	return errors.Join(errs...)
}

// messages makes the messages of a value.
func (d *Device) messages(name string, value any, how How) ([]mqtt.Message, error) {
	if name == "" {
		return nil, errors.New("name is empty; the topic of the client identifier alone is that of the status")
	}
	v := resolve(reflect.ValueOf(value))
	payload, err := encode(nil, v, 0)
	if err != nil {
		return nil, err
	}
	topic := d.Topic(name)
	list := []mqtt.Message{{Topic: topic, Payload: payload, QoS: how.QoS, Retain: how.Retain}}
	if !how.Expand || !isList(v) {
		return list, nil
	}
	for i := range v.Len() {
		if payload, err = encode(nil, resolve(v.Index(i)), 0); err != nil {
			return nil, fmt.Errorf("element %d: %w", i, err)
		}
		list = append(list, mqtt.Message{Topic: element(topic, i), Payload: payload, QoS: how.QoS, Retain: how.Retain})
	}
	if !how.Retain {
		return list, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := v.Len(); i < d.expanded[name]; i++ {
		list = append(list, mqtt.Message{Topic: element(topic, i), QoS: how.QoS, Retain: true}) // [MQTT-3.3.1-6]
	}
	d.expanded[name] = v.Len()
	return list, nil
}

func element(topic string, i int) string { return topic + "/" + strconv.Itoa(i) }

// maxNesting bounds the depth of arrays in arrays; a slice of interfaces can contain itself.
const maxNesting = 1000

// encode appends a value. encoding/json does the work, except that lists of bytes are arrays and nil lists are empty ones.
func encode(b []byte, v reflect.Value, depth int) ([]byte, error) {
	if depth > maxNesting {
		return nil, fmt.Errorf("arrays are nested deeper than %d", maxNesting)
	}
	if !isList(v) {
		switch {
		case !v.IsValid():
			return encodePlain(b, nil)
		case v.CanAddr():
			return encodePlain(b, v.Addr().Interface()) // methods of the pointer count, as for encoding/json
		default:
			return encodePlain(b, v.Interface())
		}
	}
	if v.Len() > 0 && plainElements(v.Type().Elem()) {
		return encodePlain(b, v.Interface())
	}
	b = append(b, '[')
	for i := range v.Len() {
		if i > 0 {
			b = append(b, ',')
		}
		var err error
		if b, err = encode(b, resolve(v.Index(i)), depth+1); err != nil {
			return nil, err
		}
	}
	return append(b, ']'), nil
}

func encodePlain(b []byte, value any) ([]byte, error) {
	out := bytes.NewBuffer(b)
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false) // a payload is not part of a page
	if err := e.Encode(value); err != nil {
		return nil, err
	}
	return out.Bytes()[:out.Len()-1], nil // without the line feed that Encode adds
}

// resolve follows pointers and interfaces, down to what encodes itself.
func resolve(v reflect.Value) reflect.Value {
	for range maxNesting { // a pointer can point to itself
		if !v.IsValid() || v.Kind() != reflect.Pointer && v.Kind() != reflect.Interface || encodesItself(v.Type()) || v.IsNil() {
			break
		}
		v = v.Elem()
	}
	return v
}

// isList reports whether a value becomes a JSON array by the rules of this package.
func isList(v reflect.Value) bool {
	return v.IsValid() && (v.Kind() == reflect.Slice || v.Kind() == reflect.Array) && !encodesItself(v.Type()) &&
		!(v.CanAddr() && encodesItself(reflect.PointerTo(v.Type())))
}

// plainElements reports whether encoding/json encodes a list of this type as this package does.
func plainElements(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Uint8, reflect.Slice, reflect.Array, reflect.Interface, reflect.Pointer:
		return false
	default:
		return true
	}
}

var (
	marshaler     = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
)

func encodesItself(t reflect.Type) bool {
	return t.Kind() != reflect.Interface && (t.Implements(marshaler) || t.Implements(textMarshaler))
}
