package scram

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"hash"
	"strings"
	"testing"

	"github.com/midgemq/midge/client"
)

// TestVector is the example of RFC 7677, section 3.
func TestVector(t *testing.T) {
	e := SHA256("user", "pencil").Begin(context.Background()).(*exchange)
	if _, err := e.Start(); err != nil {
		t.Fatal(err)
	}
	e.nonce = "rOprNGfwEbeRWgbNEkqO"
	e.first = "n=user,r=" + e.nonce
	got, err := e.Respond([]byte("r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"))
	want := "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
	if err != nil || string(got) != want {
		t.Errorf("%q %v, want %q", got, err, want)
	}
	if err := e.Finish([]byte("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")); err != nil {
		t.Error(err)
	}
}

// server plays the other side with a password of its own.
func server(h func() hash.Hash, password string, first, nonce string) (challenge string, verify func(final string) (string, bool)) {
	bare := strings.TrimPrefix(first, gs2Header)
	salt := []byte("salt of the server")
	_, clientNonce, _ := strings.Cut(bare, ",r=")
	challenge = "r=" + clientNonce + nonce + ",s=" + base64.StdEncoding.EncodeToString(salt) + ",i=100"
	mac := func(key []byte, text string) []byte {
		m := hmac.New(h, key)
		m.Write([]byte(text))
		return m.Sum(nil)
	}
	return challenge, func(final string) (string, bool) {
		without, proofText, _ := strings.Cut(final, ",p=")
		proof, _ := base64.StdEncoding.DecodeString(proofText)
		salted, _ := pbkdf2.Key(h, password, salt, 100, h().Size())
		key := mac(salted, "Client Key")
		stored := h()
		stored.Write(key)
		message := bare + "," + challenge + "," + without
		signature := mac(stored.Sum(nil), message)
		for i := range signature {
			signature[i] ^= key[i]
		}
		return "v=" + base64.StdEncoding.EncodeToString(mac(mac(salted, "Server Key"), message)), bytes.Equal(signature, proof)
	}
}

func TestBothSides(t *testing.T) {
	for name, tc := range map[string]struct {
		method client.AuthMethod
		hash   func() hash.Hash
	}{
		"SCRAM-SHA-256": {SHA256("a=b,c", "pass"), sha256.New},
		"SCRAM-SHA-512": {SHA512("a=b,c", "pass"), sha512.New},
	} {
		if tc.method.Name() != name {
			t.Errorf("name %q", tc.method.Name())
		}
		for _, password := range []string{"pass", "other"} {
			e := tc.method.Begin(context.Background())
			first, err := e.Start()
			if err != nil || !strings.HasPrefix(string(first), "n,,n=a=3Db=2Cc,r=") {
				t.Fatalf("%q %v", first, err)
			}
			challenge, verify := server(tc.hash, password, string(first), "more")
			final, err := e.Respond([]byte(challenge))
			if err != nil {
				t.Fatal(err)
			}
			answer, ok := verify(string(final))
			if ok != (password == "pass") {
				t.Errorf("%s: server with password %q took the proof: %v", name, password, ok)
			}
			if err := e.Finish([]byte(answer)); (err == nil) != ok {
				t.Errorf("%s: client with a server of password %q: %v", name, password, err)
			}
			if err := e.Finish(nil); (err == nil) != ok {
				t.Errorf("%s: no final message after all: %v", name, err)
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, challenge := range []string{
		"", "r=x", "r=NONCE,s=AAAA,i=4096", "r=NONCEx,s=!,i=4096", "r=NONCEx,s=AAAA,i=0", "r=NONCEx,s=AAAA,i=99999999", "m=ext,r=NONCEx,s=AAAA,i=1",
	} {
		e := SHA256("u", "p").Begin(context.Background()).(*exchange)
		e.Start()
		if _, err := e.Respond([]byte(strings.Replace(challenge, "NONCE", e.nonce, 1))); err == nil {
			t.Errorf("took %q", challenge)
		}
		for _, final := range []string{"", "v=", "v=AAAA", "e=other-error"} {
			if err := e.Finish([]byte(final)); err == nil {
				t.Errorf("took the end %q", final)
			}
		}
	}
}

func FuzzRespond(f *testing.F) {
	f.Add([]byte("r=xy,s=AAAA,i=1"))
	f.Fuzz(func(t *testing.T, b []byte) {
		e := SHA256("u", "p").Begin(context.Background()).(*exchange)
		e.nonce, e.first = "x", "n=u,r=x"
		if _, _, n, err := parseChallenge(string(b)); err == nil && n > 1000 {
			return // only slow
		}
		answer, err := e.Respond(b)
		if err == nil && !bytes.HasPrefix(answer, []byte("c=biws,r=x")) {
			t.Errorf("%q", answer)
		}
	})
}
