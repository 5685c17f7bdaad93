// Package scram authenticates an MQTT 5.0 client by SCRAM-SHA-256 or SCRAM-SHA-512 (RFC 5802, RFC 7677): the password never travels,
// and the server has to prove that it knows it too. Without channel binding, for the standard names none for MQTT.
//
// It does no I/O. A method may be shared by any number of goroutines; each exchange belongs to the one that runs it.
package scram

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"

	"github.com/midgemq/midge/client"
)

// SHA256 authenticates by SCRAM-SHA-256 (RFC 5802, RFC 7677): the password never travels and the server proves that it knows
// it too.
func SHA256(userName, password string) client.AuthMethod {
	return method{name: "SCRAM-SHA-256", hash: sha256.New, user: userName, password: password}
}

// SHA512 is SHA256 with the longer hash.
func SHA512(userName, password string) client.AuthMethod {
	return method{name: "SCRAM-SHA-512", hash: sha512.New, user: userName, password: password}
}

type method struct {
	name           string
	hash           func() hash.Hash
	user, password string
}

// maxIterations protects from a server that would have the client hash for hours.
const maxIterations = 10_000_000

func (s method) Name() string { return s.name }

func (s method) Begin(context.Context) client.AuthExchange { return &exchange{method: s} }

type exchange struct {
	method
	nonce       string
	first       string // client-first-message-bare
	serverProof []byte
	answered    bool
	verified    bool
}

// gs2Header says that no channel binding is in use.
const gs2Header = "n,,"

func (e *exchange) Start() ([]byte, error) {
	var b [18]byte
	rand.Read(b[:]) //nolint:errcheck // documented never to fail
	e.nonce = base64.StdEncoding.EncodeToString(b[:])
	e.first = "n=" + strings.NewReplacer("=", "=3D", ",", "=2C").Replace(e.user) + ",r=" + e.nonce
	return []byte(gs2Header + e.first), nil
}

func (e *exchange) Respond(challenge []byte) ([]byte, error) {
	if e.answered {
		// RFC 5802 lets the server's signature come as a last challenge; the answer to it is empty.
		return nil, e.verify(string(challenge))
	}
	nonce, salt, iterations, err := parseChallenge(string(challenge))
	if err != nil {
		return nil, fmt.Errorf("scram: challenge: %w", err)
	}
	if !strings.HasPrefix(nonce, e.nonce) || len(nonce) == len(e.nonce) {
		return nil, errors.New("scram: the server's nonce does not extend the client's")
	}
	salted, err := pbkdf2.Key(e.hash, e.password, salt, iterations, e.hash().Size())
	if err != nil {
		return nil, fmt.Errorf("scram: %w", err)
	}
	final := "c=" + base64.StdEncoding.EncodeToString([]byte(gs2Header)) + ",r=" + nonce
	authMessage := e.first + "," + string(challenge) + "," + final
	clientKey := e.mac(salted, "Client Key")
	h := e.hash()
	h.Write(clientKey)
	proof := e.mac(h.Sum(nil), authMessage)
	for i := range proof {
		proof[i] ^= clientKey[i]
	}
	e.serverProof = e.mac(e.mac(salted, "Server Key"), authMessage)
	e.answered = true
	return []byte(final + ",p=" + base64.StdEncoding.EncodeToString(proof)), nil
}

func (e *exchange) mac(key []byte, text string) []byte {
	m := hmac.New(e.hash, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

func (e *exchange) verify(final string) error {
	if reason, failed := strings.CutPrefix(final, "e="); failed {
		return fmt.Errorf("scram: server error %q", reason)
	}
	text, ok := strings.CutPrefix(final, "v=")
	text, _, _ = strings.Cut(text, ",")
	signature, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil {
		return errors.New("scram: the server's final message is malformed")
	}
	if !hmac.Equal(signature, e.serverProof) || e.serverProof == nil {
		return errors.New("scram: the server does not know the password")
	}
	e.verified = true
	return nil
}

func (e *exchange) Finish(data []byte) error {
	if data == nil && e.verified {
		return nil
	}
	return e.verify(string(data))
}

func parseChallenge(s string) (nonce string, salt []byte, iterations int, err error) {
	parts := strings.Split(s, ",")
	if len(parts) < 3 || strings.HasPrefix(s, "m=") {
		return "", nil, 0, errors.New("malformed, or with an extension that is mandatory")
	}
	nonce, ok1 := strings.CutPrefix(parts[0], "r=")
	saltText, ok2 := strings.CutPrefix(parts[1], "s=")
	count, ok3 := strings.CutPrefix(parts[2], "i=")
	if !ok1 || !ok2 || !ok3 {
		return "", nil, 0, errors.New("malformed")
	}
	if salt, err = base64.StdEncoding.DecodeString(saltText); err != nil {
		return "", nil, 0, fmt.Errorf("salt: %w", err)
	}
	if iterations, err = strconv.Atoi(count); err != nil || iterations < 1 || iterations > maxIterations {
		return "", nil, 0, fmt.Errorf("iteration count %q is not between 1 and %d", count, maxIterations)
	}
	return nonce, salt, iterations, nil
}
