package password

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// Every row of the table: what Mosquitto of any version wrote is verified, and
// what it refuses to decode is refused.
func TestVectors(t *testing.T) {
	b, err := os.ReadFile("testdata/vectors.tsv")
	if err != nil {
		t.Fatal(err)
	}
	rows := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")[1:]
	if len(rows) != 36 {
		t.Fatalf("%d rows, not 36", len(rows))
	}
	for _, row := range rows {
		f := strings.Split(row, "\t")
		id, pw, line, expected := f[0], f[3], f[7], f[8]
		_, text, _ := strings.Cut(line, ":")
		h, err := Parse(text)
		got := "decode error"
		if err == nil {
			if got = "mismatch"; h.Verify([]byte(pw)) {
				got = "match"
			}
		} else if strings.Contains(err.Error(), "right") {
			t.Errorf("row %s: the error repeats the text: %v", id, err)
		}
		if got != expected {
			t.Errorf("row %s (%s): %s, want %s (%v)", id, f[9], got, expected, err)
		}
	}
}

// What New writes is read again, with the layout of Mosquitto 2.1, and no two
// salts are alike.
func TestNew(t *testing.T) {
	for _, c := range []struct {
		kind   Type
		n      int
		prefix string
		fields int
	}{
		{SHA512, 0, "$6$", 4},
		{SHA512PBKDF2, 1000, "$7$1000$", 5},
		{SHA512PBKDF2, 1, "$7$1$", 5},
		{Argon2id, 0, "$argon2id$v=19$m=47104,t=1,p=1$", 6},
	} {
		a, err := New(c.kind, c.n, []byte("sesame"))
		if err != nil {
			t.Fatal(err)
		}
		b, _ := New(c.kind, c.n, []byte("sesame"))
		if a.String() == b.String() {
			t.Errorf("%s: the same salt twice", c.kind)
		}
		if !strings.HasPrefix(a.String(), c.prefix) || len(strings.Split(a.String(), "$")) != c.fields {
			t.Errorf("%s: %s", c.kind, a)
		}
		h, err := Parse(a.String())
		if err != nil {
			t.Fatalf("%s: %v", c.kind, err)
		}
		if len(h.salt) != 64 || len(h.sum) != 64 || h.Type() != c.kind {
			t.Errorf("%s: salt %d, hash %d bytes, type %s", c.kind, len(h.salt), len(h.sum), h.Type())
		}
		for pw, want := range map[string]bool{"sesame": true, "sesame\x00tail": true, "sesam": false, "": false, "sesame ": false} {
			if h.Verify([]byte(pw)) != want {
				t.Errorf("%s: %q is %v", c.kind, pw, !want)
			}
		}
	}
	for _, n := range []int{0, -1, MaxIterations + 1} {
		if _, err := New(SHA512PBKDF2, n, nil); err == nil {
			t.Errorf("%d iterations accepted", n)
		}
	}
	if _, err := New(0, 1, nil); err == nil {
		t.Error("type 0 accepted")
	}
}

// The reference vector of libargon2 with salt and hash of other lengths than
// midge writes.
func TestArgon2idOfOthers(t *testing.T) {
	h, err := Parse("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	if err != nil {
		t.Fatal(err)
	}
	if !h.Verify([]byte("password")) || h.Verify([]byte("Password")) {
		t.Error("the reference vector does not verify")
	}
}

// Parameters that would cost too much, or too little, are refused.
func TestLimits(t *testing.T) {
	const salt, sum = "c29tZXNhbHQ", "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	tail := "$" + strings.Repeat("A", 16) + "$" + strings.Repeat("A", 86) + "=="
	for _, s := range []string{
		"", "$", "$7$", "$6$", "$argon2id$", "$argon2i$v=19$m=64,t=1,p=1$" + salt + "$" + sum,
		fmt.Sprintf("$7$%d%s", MaxIterations+1, tail), "$7$99999999999999999999" + tail, "$7$+1" + tail, "$7$-1" + tail, "$7$ 1" + tail,
		"$6" + tail + "$x", "$6" + tail + "\n",
		"$argon2id$v=16$m=64,t=1,p=1$" + salt + "$" + sum,
		"$argon2id$v=19$m=4194304,t=1,p=1$" + salt + "$" + sum,
		"$argon2id$v=19$m=262144,t=33,p=1$" + salt + "$" + sum,
		"$argon2id$v=19$m=64,t=0,p=1$" + salt + "$" + sum,
		"$argon2id$v=19$m=64,t=1,p=0$" + salt + "$" + sum,
		"$argon2id$v=19$m=64,t=1,p=256$" + salt + "$" + sum,
		"$argon2id$v=19$m=15,t=1,p=2$" + salt + "$" + sum,
		"$argon2id$v=19$m=64,t=1$" + salt + "$" + sum,
		"$argon2id$v=19$m=64,t=1,p=1,x=1$" + salt + "$" + sum,
		"$argon2id$v=19$m=64,t=1,p=1$c2FsdA$" + sum,
		"$argon2id$v=19$m=64,t=1,p=1$" + salt + "$c2hvcnQ",
		"$argon2id$v=19$m=64,t=1,p=1$" + salt + "=$" + sum,
	} {
		if _, err := Parse(s); err == nil {
			t.Errorf("%.60q accepted", s)
		}
	}
	for _, s := range []string{fmt.Sprintf("$7$%d%s", MaxIterations, tail), "$6" + tail, "$argon2id$v=19$m=262144,t=32,p=4$" + salt + "$" + sum} {
		if _, err := Parse(s); err != nil {
			t.Errorf("%.60q: %v", s, err)
		}
	}
}

func TestTypeNames(t *testing.T) {
	for _, n := range []string{"sha512", "sha512-pbkdf2", "argon2id"} {
		if k, ok := ParseType(n); !ok || k.String() != n {
			t.Errorf("%s: %v %v", n, k, ok)
		}
	}
	if _, ok := ParseType("md5"); ok {
		t.Error("md5 accepted")
	}
}

func FuzzParse(f *testing.F) {
	b, err := os.ReadFile("testdata/vectors.tsv")
	if err != nil {
		f.Fatal(err)
	}
	for _, row := range strings.Split(string(b), "\n") {
		if c := strings.Split(row, "\t"); len(c) > 8 {
			f.Add(c[7][strings.IndexByte(c[7], ':')+1:])
		}
	}
	f.Add("$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	f.Fuzz(func(t *testing.T, s string) {
		h, err := Parse(s)
		if err != nil {
			return
		}
		if h.String() != s {
			t.Fatalf("%q is written as %q", s, h)
		}
		if h.iterations < 1 && h.kind != SHA512 || h.iterations > MaxIterations || h.memory > maxArgonMemory {
			t.Fatalf("%q: beyond the limits", s)
		}
		if h.kind == SHA512 && h.Verify([]byte(s)) {
			t.Fatalf("%q verifies", s)
		}
	})
}
