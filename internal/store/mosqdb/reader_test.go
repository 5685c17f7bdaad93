package mosqdb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/midgemq/midge/mqtt"
)

func same(t *testing.T, got, want *DB) {
	t.Helper()
	g, w := lines(got), lines(want)
	if !slices.Equal(g, w) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(g, "\n"), strings.Join(w, "\n"))
	}
}

// lines shows a DB with the messages of each client together.
func lines(db *DB) []string {
	l := []string{fmt.Sprintf("%d %+v %d", db.Version, db.Config, db.Unknown)}
	for _, v := range db.Messages {
		l = append(l, fmt.Sprintf("%d %d %q %q %x %q %q %d %d %d %t",
			v.ID, v.Expiry, v.Topic, v.Payload, v.Properties, v.SourceID, v.SourceUserName, v.SourceMID, v.SourcePort, v.QoS, v.Retain))
	}
	for _, v := range db.Clients {
		l = append(l, fmt.Sprintf("%+v", v))
	}
	m := slices.Clone(db.ClientMessages)
	slices.SortStableFunc(m, func(a, b ClientMessage) int { return strings.Compare(a.ClientID, b.ClientID) })
	for _, v := range m {
		l = append(l, fmt.Sprintf("%+v", v))
	}
	for _, v := range db.Subscriptions {
		l = append(l, fmt.Sprintf("%+v", v))
	}
	return append(l, fmt.Sprint(db.Retained))
}

func TestRoundTrip(t *testing.T) {
	want := sample()
	got, err := Read(bytes.NewReader(encode(t, want)))
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, want)
}

// TestVersions: each earlier version gives what it has a place for.
func TestVersions(t *testing.T) {
	for _, c := range []struct {
		version uint32
		timeT   int
	}{{2, 0}, {3, 4}, {3, 8}, {4, 4}, {4, 8}, {5, 0}} {
		t.Run(fmt.Sprintf("%d time_t %d", c.version, c.timeT), func(t *testing.T) {
			want := sample()
			want.Version = c.version
			for i := range want.Clients {
				v := &want.Clients[i]
				v.UserName, v.ListenerPort = "", 0
				if c.version < 5 {
					v.ExpiryTime, v.ExpiryInterval = 0, mqtt.NeverExpires
				}
				if c.version == 3 || c.version == 4 {
					v.Disconnected = wallNow - int64(i)
				}
			}
			if c.version < 5 {
				for i := range want.Messages {
					v := &want.Messages[i]
					v.Properties, v.Expiry = nil, 0
					if c.version < 4 {
						v.SourceUserName, v.SourcePort = "", 0
					}
				}
				for i := range want.ClientMessages {
					want.ClientMessages[i].SubscriptionID = 0
				}
				for i := range want.Subscriptions {
					want.Subscriptions[i].ID, want.Subscriptions[i].Options = 0, 0
				}
			}
			got, err := Read(bytes.NewReader(encodeOld(want, c.version, c.timeT)))
			if err != nil {
				t.Fatal(err)
			}
			same(t, got, want)
		})
	}
}

// TestNoPadding: 32-bit x86 aligns 64-bit integers to four bytes, which makes two
// fixed parts shorter.
func TestNoPadding(t *testing.T) {
	w := &old{version: 6}
	w.b = append(w.b, magic...)
	w.b = append(w.b, 0, 0, 0, 0, 0, 0, 0, 6)
	w.chunk(TypeConfig, append(binary.LittleEndian.AppendUint64(nil, 3), 1, 8, 0, 0))
	c := make([]byte, 8)
	c = binary.BigEndian.AppendUint32(c, mqtt.NeverExpires)
	c = put16(c, 5, 2, 1883, 3)
	w.chunk(TypeClient, append(c, "idbob"...))
	got, err := Read(bytes.NewReader(w.b))
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, &DB{
		Version: 6, Config: Config{LastID: 3, Shutdown: true, IDSize: 8},
		Clients: []Client{{ID: "id", UserName: "bob", ExpiryInterval: mqtt.NeverExpires, LastMID: 5, ListenerPort: 1883}},
	})
}

func TestHeader(t *testing.T) {
	good := encode(t, sample())
	badVersion := bytes.Clone(good)
	badVersion[headerSize-1] = 7
	for _, c := range []struct {
		name string
		in   []byte
		want error
	}{
		{"empty", nil, ErrEmpty},
		{"short", good[:headerSize-1], ErrFormat},
		{"other file", []byte("SQLite format 3\x00 and something behind it"), ErrFormat},
		{"version", badVersion, ErrVersion},
	} {
		if db, err := Read(bytes.NewReader(c.in)); !errors.Is(err, c.want) || db == nil {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	broken := io.MultiReader(bytes.NewReader(good[:4]), failing{})
	if _, err := Read(broken); !errors.Is(err, errDisk) {
		t.Errorf("disk: %v", err)
	}
}

var errDisk = errors.New("disk on fire")

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errDisk }

// TestDamagedChunk: one bad chunk is named with its offset, the others are read.
func TestDamagedChunk(t *testing.T) {
	b := encode(t, sample())
	at := bytes.Index(b, []byte("a/2"))
	b[at] = '#' // no topic name
	db, err := Read(bytes.NewReader(b))
	var ce *ChunkError
	if !errors.As(err, &ce) {
		t.Fatalf("error %v", err)
	}
	first := headerSize + headerChunk + sizeConfig
	if want := int64(first + headerChunk + sizeMessage + len("pub"+"alice"+"a/1"+"one")); ce.Type != TypeMessage || ce.Index != 3 || ce.Offset != want {
		t.Errorf("%+v, want offset %d", ce, want)
	}
	if !strings.Contains(err.Error(), fmt.Sprintf("chunk 3 (DB_CHUNK_BASE_MSG) at offset %d: topic", ce.Offset)) {
		t.Errorf("text %q", err)
	}
	want := sample()
	want.Messages = append(want.Messages[:1], want.Messages[2:]...)
	same(t, db, want)
}

// TestTruncated: a file that ends anywhere gives whole chunks and, inside one, an
// error; never a chunk that is not in the file.
func TestTruncated(t *testing.T) {
	for version := uint32(MinVersion); version <= MaxVersion; version++ {
		b := encodeOld(sample(), version, 8)
		if version == MaxVersion {
			b = encode(t, sample())
		}
		ends := map[int]bool{}
		r, err := NewReader(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		for {
			c, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			ends[int(c.Offset)] = true
		}
		for n := headerSize; n < len(b); n++ {
			if _, err := Read(bytes.NewReader(b[:n])); (err == nil) != ends[n] {
				t.Errorf("version %d cut at %d: %v", version, n, err)
			} else if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("version %d cut at %d: %v", version, n, err)
			}
		}
	}
}

func TestUnknownChunk(t *testing.T) {
	b := encode(t, sample())
	w := &old{version: 6, b: b[:headerSize:headerSize]}
	w.chunk(99, []byte("from the future"))
	w.b = append(w.b, b[headerSize:]...)
	db, err := Read(bytes.NewReader(w.b))
	if err != nil || db.Unknown != 1 {
		t.Fatalf("%d unknown, %v", db.Unknown, err)
	}
	want := sample()
	want.Unknown = 1
	same(t, db, want)
}

// TestLengths: a length that announces gigabytes allocates nothing of the kind.
func TestLengths(t *testing.T) {
	b := encode(t, sample())[:headerSize]
	for _, n := range []uint32{maxChunk + 1, maxChunk, 1<<32 - 1} {
		for _, typ := range []uint32{uint32(TypeMessage), 77} {
			x := binary.BigEndian.AppendUint32(bytes.Clone(b), typ)
			x = binary.BigEndian.AppendUint32(x, n)
			var ce *ChunkError
			if _, err := Read(bytes.NewReader(x)); !errors.As(err, &ce) || ce.Offset != int64(headerSize) {
				t.Errorf("type %d length %d: %v", typ, n, err)
			}
		}
	}
}

// TestManyErrors: the list of errors is bounded.
func TestManyErrors(t *testing.T) {
	w := &old{version: 6, b: encode(t, sample())[:headerSize]}
	for range 100 {
		w.chunk(TypeRetained, []byte("short"))
	}
	_, err := Read(bytes.NewReader(w.b))
	if err == nil || strings.Count(err.Error(), "\n") != maxErrors || !strings.Contains(err.Error(), "and 80 more") {
		t.Errorf("%v", err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(encode(f, sample()))
	for v := uint32(2); v < 6; v++ {
		f.Add(encodeOld(sample(), v, 8))
		f.Add(encodeOld(sample(), v, 4))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		db, err := Read(bytes.NewReader(b))
		if db == nil {
			t.Fatal("no DB")
		}
		// What was read without error can be written and read again.
		if err != nil || db.Unknown > 0 {
			return
		}
		db.Version, db.Config.IDSize = MaxVersion, 8
		known := make(map[string]bool)
		for i := range db.Clients {
			if known[db.Clients[i].ID] {
				return
			}
			known[db.Clients[i].ID] = true
			db.Clients[i].Disconnected = 0
		}
		for i := range db.ClientMessages {
			if !known[db.ClientMessages[i].ClientID] {
				return
			}
		}
		again, err := Read(bytes.NewReader(encode(t, db)))
		if err != nil {
			t.Fatal(err)
		}
		if len(again.Messages) != len(db.Messages) || len(again.ClientMessages) != len(db.ClientMessages) ||
			!reflect.DeepEqual(again.Clients, db.Clients) || !reflect.DeepEqual(again.Subscriptions, db.Subscriptions) || !reflect.DeepEqual(again.Retained, db.Retained) {
			t.Fatal("differs")
		}
	})
}
