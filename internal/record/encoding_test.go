package record

import (
	"bytes"
	"errors"
	"os"
	"reflect"
	"testing"

	"github.com/midgemq/midge/mqtt"
)

// samples are records of each form: how they are written, and read and written
// again.
func samples() map[Form]func(Shift) (body []byte, again func([]byte) ([]byte, error)) {
	m := NewMessage([]byte("a/b"), []byte("payload"), []byte{1, 1})
	m.Seq, m.Expires, m.At, m.QoS, m.Retain, m.Publisher = 1<<40, 77*Second, -3, 2, true, "pub"
	return map[Form]func(Shift) ([]byte, func([]byte) ([]byte, error)){
		FormSchema: func(Shift) ([]byte, func([]byte) ([]byte, error)) {
			return AppendSchema(nil, 300), func(b []byte) ([]byte, error) { v, err := ParseSchema(b); return AppendSchema(nil, v), err }
		},
		FormCommit: func(Shift) ([]byte, func([]byte) ([]byte, error)) {
			return AppendCommit(nil, &Commit{Number: 1 << 50, At: -5, Wall: 1 << 60}), func(b []byte) ([]byte, error) {
				var v Commit
				err := ParseCommit(b, &v)
				return AppendCommit(nil, &v), err
			}
		},
		FormSession: func(s Shift) ([]byte, func([]byte) ([]byte, error)) {
			v := Session{ClientID: "id", UserName: "user", Expiry: mqtt.NeverExpires, Version: mqtt.V311, Disconnected: 9 * Second}
			return AppendSession(nil, &v, s), func(b []byte) ([]byte, error) {
				var v Session
				err := ParseSession(b, &v, s)
				return AppendSession(nil, &v, s), err
			}
		},
		FormCursor: func(Shift) ([]byte, func([]byte) ([]byte, error)) {
			v := Cursor{Head: 1000, Purged: 10, Last: 1 << 62, Order: 5, Sent: 1 << 61, Count: 7, Bytes: 1 << 33, Below: []uint64{3, 900}}
			return AppendCursor(nil, &v), func(b []byte) ([]byte, error) {
				var v Cursor
				err := ParseCursor(b, &v)
				return AppendCursor(nil, &v), err
			}
		},
		FormWill: func(s Shift) ([]byte, func([]byte) ([]byte, error)) {
			return AppendWill(nil, &Will{Msg: m, Delay: 5, Expiry: 6, HasExpiry: true}, s), func(b []byte) ([]byte, error) {
				v, err := ParseWill(b, s)
				if err != nil {
					return nil, err
				}
				return AppendWill(nil, v, s), nil
			}
		},
		FormSubscription: func(Shift) ([]byte, func([]byte) ([]byte, error)) {
			return AppendSubscription(nil, &Subscription{ID: mqtt.MaxVarint, QoS: 2, NoLocal: true, RetainAsPublished: true}), func(b []byte) ([]byte, error) {
				var v Subscription
				err := ParseSubscription(b, &v)
				return AppendSubscription(nil, &v), err
			}
		},
		FormFlight: func(Shift) ([]byte, func([]byte) ([]byte, error)) {
			return AppendFlight(nil, &Flight{Order: 1 << 30, PacketID: 65535, State: 3}), func(b []byte) ([]byte, error) {
				var v Flight
				err := ParseFlight(b, &v)
				return AppendFlight(nil, &v), err
			}
		},
		FormEntry: func(s Shift) ([]byte, func([]byte) ([]byte, error)) {
			v := Entry{Queued: Queued{Msg: m, SubID: 7, QoS: 1, Retain: true, Group: "$share/g/#"}, Order: 9, PacketID: 10, State: 1}
			return AppendEntry(nil, &v, s), func(b []byte) ([]byte, error) {
				var v Entry
				err := ParseEntry(b, &v, s)
				if err != nil {
					return nil, err
				}
				return AppendEntry(nil, &v, s), nil
			}
		},
		FormMessage: func(s Shift) ([]byte, func([]byte) ([]byte, error)) {
			return AppendMessage(nil, m, s), func(b []byte) ([]byte, error) {
				v, err := ParseMessage(b, s)
				if err != nil {
					return nil, err
				}
				return AppendMessage(nil, v, s), nil
			}
		},
	}
}

// TestRecords: what was written is read whole, on whatever time line, and no
// record that is cut short is.
func TestRecords(t *testing.T) {
	for f, build := range samples() {
		for _, s := range []Shift{0, 1, -Shift(77 * Second), 1 << 50} {
			body, again := build(s)
			got, err := again(body)
			if err != nil || !bytes.Equal(got, body) {
				t.Errorf("form %q shift %d: %x and %v, want %x", byte(f), s, got, err, body)
			}
			if f == FormMessage || f == FormWill || f == FormEntry {
				continue // the payload is what is left
			}
			for n := range body {
				if _, err := again(body[:n]); !errors.Is(err, ErrDamaged) {
					t.Errorf("form %q cut to %d of %d bytes: %v", byte(f), n, len(body), err)
				}
			}
		}
	}
}

// TestFormsAreDescribed: the page that describes the bytes knows each form.
func TestFormsAreDescribed(t *testing.T) {
	doc, err := os.ReadFile("../../docs/formats/store.md")
	if err != nil {
		t.Fatal(err)
	}
	for f := range samples() {
		if !bytes.Contains(doc, []byte("| `"+string(rune(f))+"` |")) {
			t.Errorf("form %q has no row", byte(f))
		}
	}
}

// TestShift: an instant keeps its distance from now, and none stays none.
func TestShift(t *testing.T) {
	m := &Message{Topic: "t", Expires: 50 * Second}
	stored := AppendMessage(nil, m, 1000*Shift(Second)) // now is 40 s: 10 s remain
	got, err := ParseMessage(stored, 1030*Shift(Second))
	if err != nil || got.Expires != 20*Second || got.At != 0 { // now is 10 s
		t.Errorf("%+v %v, want 10 s after 10 s", got, err)
	}
	if got, err = ParseMessage(stored, 1050*Shift(Second)); err != nil || got.Expires == 0 {
		t.Errorf("an instant became none: %+v %v", got, err)
	}
}

// TestUnseal: each bit counts, and so does the key.
func TestUnseal(t *testing.T) {
	key := []byte("key")
	rec := Seal(append(Begin([]byte("before"), FormSession), "body"...), len("before"), key)[len("before"):]
	body, err := Unseal(FormSession, key, rec)
	if err != nil || string(body) != "body" {
		t.Fatalf("%q %v", body, err)
	}
	for i := range len(rec) * 8 {
		rec[i/8] ^= 1 << (i % 8)
		if _, err := Unseal(FormSession, key, rec); !errors.Is(err, ErrDamaged) {
			t.Errorf("bit %d: %v", i, err)
		}
		rec[i/8] ^= 1 << (i % 8)
	}
	for n := range rec {
		if _, err := Unseal(FormSession, key, rec[:n]); !errors.Is(err, ErrDamaged) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	if _, err := Unseal(FormSession, []byte("kez"), rec); !errors.Is(err, ErrDamaged) {
		t.Errorf("under another key: %v", err)
	}
	if _, err := Unseal(FormWill, key, rec); !errors.Is(err, ErrDamaged) {
		t.Errorf("as another form: %v", err)
	}
	newer := Seal([]byte{byte(FormSession), formVersion + 1, 'x'}, 0, key)
	if _, err := Unseal(FormSession, key, newer); !errors.Is(err, ErrNewer) {
		t.Errorf("a newer version: %v", err)
	}
}

// TestEntryByReference: the head of an entry says what the whole says.
func TestEntryByReference(t *testing.T) {
	e := Entry{Queued: Queued{Seq: 4, QoS: 2, Group: "g"}, Ref: 1 << 40, Size: 12345}
	var got Entry
	got.Seq = 4
	if err := ParseEntry(AppendEntry(nil, &e, 5), &got, 5); err != nil || !reflect.DeepEqual(got, e) {
		t.Errorf("%+v %v, want %+v", got, err, e)
	}
	m := NewMessage([]byte("t"), make([]byte, 300), []byte{1, 0})
	m.Expires, m.Publisher, m.At = 5, "p", 4
	inside := Entry{Queued: Queued{Msg: m}}
	if _, err := ParseEntryHead(AppendEntry(nil, &inside, 5), &got); err != nil || got.Size != 300 || got.Msg != nil {
		t.Errorf("head: %+v %v", got, err)
	}
}

// FuzzParse: no body makes a parser fail but with an error, and what is accepted
// is written and read alike.
func FuzzParse(f *testing.F) {
	all := samples()
	for form, build := range all {
		body, _ := build(3)
		f.Add(byte(form), body)
	}
	f.Fuzz(func(t *testing.T, form byte, body []byte) {
		build := all[Form(form)]
		if build == nil {
			return
		}
		_, again := build(3)
		once, err := again(body)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatalf("form %q: %v", form, err)
			}
			return
		}
		twice, err := again(once)
		if err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("form %q: %x became %x (%v)", form, once, twice, err)
		}
	})
}

// FuzzUnseal: only what was sealed is opened.
func FuzzUnseal(f *testing.F) {
	f.Add(byte('s'), []byte("key"), Seal(append(Begin(nil, FormSession), 1, 2), 0, []byte("key")))
	f.Fuzz(func(t *testing.T, form byte, key, value []byte) {
		body, err := Unseal(Form(form), key, value)
		if err == nil && !bytes.Equal(Seal(append([]byte{form, value[1]}, body...), 0, key), value) {
			t.Fatalf("%x was opened", value)
		}
	})
}
