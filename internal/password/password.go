// Package password reads, verifies and writes the password hashes of
// Mosquitto's password files: $6$ (salted SHA-512), $7$ (PBKDF2 with
// HMAC-SHA-512) and $argon2id$.
//
// It never opens a file and never logs. Its functions may be called from any
// goroutine; Verify and New are slow on purpose and must not run on an event
// loop.
package password

import (
	"bytes"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
)

// Type is a kind of hash.
type Type uint8

// The kinds, as mosquitto_passwd -H names them.
const (
	SHA512       Type = iota + 1 // sha512, $6$
	SHA512PBKDF2                 // sha512-pbkdf2, $7$
	Argon2id                     // argon2id, $argon2id$
)

// Limits of what a file may ask of the verifier. A line beyond them would let
// whoever can log in with that name stop the broker with one CONNECT.
const (
	// MaxIterations bounds $7$: about five seconds of one processor.
	MaxIterations = 5_000_000
	// maxArgonMemory bounds m of $argon2id$, in KiB: 256 MiB for one login.
	maxArgonMemory = 256 << 10
	// maxArgonWork bounds m*t, in KiB: about five seconds of one processor.
	maxArgonWork = 8 << 20
	// maxArgonSalt and maxArgonHash bound what is decoded, in bytes; the least
	// are those of the Argon2 specification, but for the hash: 4 bytes can be
	// found by trying.
	minArgonSalt, maxArgonSalt = 8, 512
	minArgonHash, maxArgonHash = 16, 512
)

// What New writes, as Mosquitto 2.1 does.
const (
	// DefaultIterations is that of $7$.
	DefaultIterations = 1000
	saltSize          = 64
	hashSize          = 64
	argonMemory       = 47104 // KiB
	argonTime         = 1
	argonThreads      = 1
)

// oldSaltSize is what Mosquitto wrote up to 2.0.
const oldSaltSize = 12

// Hash is a decoded hash. Immutable.
type Hash struct {
	text       string
	salt, sum  []byte
	iterations int    // of $7$; the time cost of argon2id
	memory     uint32 // of argon2id, KiB
	threads    uint8  // of argon2id
	kind       Type
}

// errUnknown says that a text is no hash at all, as a plain text password.
var errUnknown = errors.New("unknown hash type: neither $6$, $7$ nor $argon2id$")

// Parse decodes a hash as it stands in a password file. The error does not
// repeat the text, which may be a password that was never hashed.
func Parse(s string) (*Hash, error) {
	switch {
	case strings.HasPrefix(s, "$6$"):
		h := &Hash{kind: SHA512, text: s}
		return h, h.decodeSHA512(strings.Split(s[3:], "$"))
	case strings.HasPrefix(s, "$7$"):
		f := strings.Split(s[3:], "$")
		n, err := iterations(f[0])
		if err != nil {
			return nil, err
		}
		h := &Hash{kind: SHA512PBKDF2, text: s, iterations: n}
		return h, h.decodeSHA512(f[1:])
	case strings.HasPrefix(s, "$argon2id$"):
		h := &Hash{kind: Argon2id, text: s}
		return h, h.decodeArgon2id(strings.Split(s[len("$argon2id$"):], "$"))
	}
	return nil, errUnknown
}

func iterations(s string) (int, error) {
	n, err := strconv.Atoi(s)
	switch {
	case err != nil || !digits(s):
		return 0, errors.New("iteration count is not a number")
	case n < 1:
		return 0, errors.New("iteration count is below 1")
	case n > MaxIterations:
		return 0, fmt.Errorf("iteration count %d is above %d", n, MaxIterations)
	}
	return n, nil
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// decodeSHA512 takes SALT and HASH of $6$ and $7$.
func (h *Hash) decodeSHA512(f []string) (err error) {
	if len(f) != 2 {
		return errors.New("salt or hash is missing")
	}
	if h.salt, err = decode(base64.StdEncoding, f[0]); err != nil {
		return fmt.Errorf("salt: %w", err)
	}
	if h.sum, err = decode(base64.StdEncoding, f[1]); err != nil {
		return fmt.Errorf("hash: %w", err)
	}
	if n := len(h.salt); n != oldSaltSize && n != saltSize {
		return fmt.Errorf("salt has %d bytes, not %d or %d", n, oldSaltSize, saltSize)
	}
	if n := len(h.sum); n != hashSize {
		return fmt.Errorf("hash has %d bytes, not %d", n, hashSize)
	}
	return nil
}

// decode refuses line breaks, which encoding/base64 skips, and any second way of
// writing the same bytes.
func decode(e *base64.Encoding, s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, errors.New("not base64")
	}
	b, err := e.Strict().DecodeString(s)
	if err != nil {
		return nil, errors.New("not base64")
	}
	return b, nil
}

// decodeArgon2id takes v=19, m=..,t=..,p=.., SALT and HASH.
func (h *Hash) decodeArgon2id(f []string) (err error) {
	if len(f) != 4 {
		return errors.New("argon2id: not of the form v=$m=,t=,p=$salt$hash")
	}
	if f[0] != "v=19" {
		return errors.New("argon2id: version is not 19")
	}
	var m, t, p uint64
	for i, part := range strings.Split(f[1], ",") {
		if i > 2 {
			return errors.New("argon2id: more parameters than m, t and p")
		}
		name := [...]string{"m=", "t=", "p="}[i]
		v, ok := strings.CutPrefix(part, name)
		n, err := strconv.ParseUint(v, 10, 32)
		if !ok || err != nil || !digits(v) {
			return fmt.Errorf("argon2id: parameter %s is missing or not a number", name[:1])
		}
		*[...]*uint64{&m, &t, &p}[i] = n
	}
	switch {
	case t < 1 || p < 1 || p > 255 || m < 8*p:
		return errors.New("argon2id: parameters are below what the algorithm needs")
	case m > maxArgonMemory:
		return fmt.Errorf("argon2id: m=%d is above %d KiB", m, maxArgonMemory)
	case m*t > maxArgonWork:
		return fmt.Errorf("argon2id: m*t=%d is above %d KiB", m*t, maxArgonWork)
	}
	h.memory, h.iterations, h.threads = uint32(m), int(t), uint8(p)
	if h.salt, err = decode(base64.RawStdEncoding, f[2]); err != nil {
		return fmt.Errorf("argon2id: salt: %w", err)
	}
	if h.sum, err = decode(base64.RawStdEncoding, f[3]); err != nil {
		return fmt.Errorf("argon2id: hash: %w", err)
	}
	if n := len(h.salt); n < minArgonSalt || n > maxArgonSalt {
		return fmt.Errorf("argon2id: salt has %d bytes, not %d to %d", n, minArgonSalt, maxArgonSalt)
	}
	if n := len(h.sum); n < minArgonHash || n > maxArgonHash {
		return fmt.Errorf("argon2id: hash has %d bytes, not %d to %d", n, minArgonHash, maxArgonHash)
	}
	return nil
}

// String is the hash as it stands in a password file.
func (h *Hash) String() string { return h.text }

// Type is the kind of the hash.
func (h *Hash) Type() Type { return h.kind }

// Verify reports whether the password is the one that was hashed. As Mosquitto
// does, it takes the password up to the first NUL byte only: clients written in
// C may send the end of the string with it. The time it takes does not depend on
// how much of the hash is right.
func (h *Hash) Verify(pw []byte) bool {
	if i := bytes.IndexByte(pw, 0); i >= 0 {
		pw = pw[:i]
	}
	sum := h.compute(pw)
	return sum != nil && subtle.ConstantTimeCompare(sum, h.sum) == 1
}

func (h *Hash) compute(pw []byte) []byte {
	switch h.kind {
	case SHA512:
		d := sha512.New()
		d.Write(pw)
		d.Write(h.salt)
		return d.Sum(nil)
	case SHA512PBKDF2:
		if h.iterations == 1 {
			return pbkdf2Once(pw, h.salt)
		}
		sum, err := pbkdf2.Key(sha512.New, string(pw), h.salt, h.iterations, hashSize)
		if err != nil {
			return nil // in FIPS mode, for salts and passwords it finds too short
		}
		return sum
	case Argon2id:
		return argon2.IDKey(pw, h.salt, uint32(h.iterations), h.memory, h.threads, uint32(len(h.sum)))
	}
	return nil
}

// pbkdf2Once is PBKDF2 with one iteration: one HMAC over salt and block number.
func pbkdf2Once(pw, salt []byte) []byte {
	m := hmac.New(sha512.New, pw)
	m.Write(salt)
	m.Write([]byte{0, 0, 0, 1})
	return m.Sum(nil)
}

// New hashes a password with a fresh salt. iterations is for SHA512PBKDF2, 1 to
// MaxIterations, and ignored by the others.
func New(kind Type, iterations int, pw []byte) (*Hash, error) {
	h := &Hash{kind: kind, salt: make([]byte, saltSize)}
	_, _ = rand.Read(h.salt) // never fails; it ends the process instead
	salt := base64.StdEncoding.EncodeToString(h.salt)
	prefix := ""
	switch kind {
	case SHA512:
		prefix = "$6$" + salt
	case SHA512PBKDF2:
		if iterations < 1 || iterations > MaxIterations {
			return nil, fmt.Errorf("hash: iteration count %d is not from 1 to %d", iterations, MaxIterations)
		}
		h.iterations = iterations
		prefix = fmt.Sprintf("$7$%d$%s", iterations, salt)
	case Argon2id:
		h.iterations, h.memory, h.threads = argonTime, argonMemory, argonThreads
		h.sum = make([]byte, hashSize)
		prefix = fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s", argonMemory, argonTime, argonThreads, base64.RawStdEncoding.EncodeToString(h.salt))
	default:
		return nil, errUnknown
	}
	if h.sum = h.compute(pw); h.sum == nil {
		return nil, errors.New("hash: refused by the cryptographic library")
	}
	e := base64.StdEncoding
	if kind == Argon2id {
		e = base64.RawStdEncoding
	}
	h.text = prefix + "$" + e.EncodeToString(h.sum)
	return h, nil
}

// ParseType reads a name of mosquitto_passwd -H.
func ParseType(name string) (t Type, ok bool) {
	for t, n := range names {
		if n == name {
			return t, true
		}
	}
	return 0, false
}

var names = map[Type]string{SHA512: "sha512", SHA512PBKDF2: "sha512-pbkdf2", Argon2id: "argon2id"}

func (t Type) String() string { return names[t] }
