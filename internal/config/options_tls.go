package config

import (
	"encoding/hex"
	"strings"
)

const (
	noPSK    = "Go's TLS has no pre-shared keys; use certificates, 'certfile' and 'keyfile'."
	noEngine = "Keys are read from PEM files only, 'keyfile'."
)

const mixed = "Error: Cannot use both certificate and psk encryption in a single listener."

// tlsOptions are the encryption of the listener before them.
var tlsOptions = []Option{
	{
		Name: "cafile", Section: "listener", place: inListener, Values: "PEM file", Reload: NextConnection,
		Meaning: "Certificates of those who sign client certificates. A second line replaces the first, as with the other files here.",
		field:   textField{at: func(t target) *string { return &t.l.TLS.CAFile }, replace: true},
	},
	{
		Name: "capath", Section: "listener", place: opensImplicit, Values: "directory", Reload: NextConnection,
		Meaning: "Directory of such certificates under hashed names, as `openssl rehash` gives them.",
		field:   textField{at: func(t target) *string { return &t.l.TLS.CAPath }, replace: true},
	},
	{
		Name: "certfile", Section: "listener", place: opensImplicit, Values: "PEM file", Reload: NextConnection,
		Meaning: "The server's certificate and the chain above it. With `keyfile` it switches TLS on.",
		field:   textField{at: func(t target) *string { return &t.l.TLS.CertFile }, replace: true},
	},
	{
		Name: "ciphers", Section: "listener", place: opensImplicit, Values: "OpenSSL cipher list", Reload: NextConnection,
		Meaning: "Ciphers for TLS 1.2 and older.",
		field:   textField{at: func(t target) *string { return &t.l.TLS.Ciphers }, replace: true},
	},
	{
		Name: "ciphers_tls1.3", Section: "listener", place: opensImplicit, Values: "names, separated by colons", Reload: NextConnection,
		Meaning: "Ciphers for TLS 1.3. They cannot be narrowed, so a list that lacks one of the standard three is refused.",
		field:   textField{at: func(t target) *string { return &t.l.TLS.Ciphers13 }, replace: true},
	},
	{
		Name: "crlfile", Section: "listener", place: opensImplicit, Values: "PEM file", Reload: NextConnection,
		Meaning: "Revocation lists for client certificates.",
		field:   textField{at: func(t target) *string { return &t.l.TLS.CRLFile }, replace: true},
	},
	{
		Name: "dhparamfile", Section: "none", Values: "path",
		Meaning: "Obsolete: read, warned about, without effect.",
		gone:    "Warning: The '%s' option is not required any more.",
	},
	{
		Name: "disable_client_cert_date_checks", Section: "listener", place: inListener, Values: boolValues, Default: "false", Reload: NextConnection,
		Meaning: "Whether client certificates pass that have expired or are not valid yet.",
		field:   boolField{at: func(t target) *bool { return &t.l.TLS.DisableClientCertDateChecks }},
	},
	{
		Name: "keyfile", Section: "listener", place: opensImplicit, Values: "PEM file", Reload: NextConnection,
		Meaning: "The key of the server's certificate.",
		field:   textField{at: func(t target) *string { return &t.l.TLS.KeyFile }, replace: true},
	},
	{
		Name: "psk_hint", Section: "listener", place: opensImplicit, Values: "text",
		Meaning: "Refused: Go's TLS has no pre-shared keys.",
		field:   refusedField{read: readText, why: noPSK},
	},
	{
		Name: "require_certificate", Section: "listener", place: opensImplicit, Values: boolValues, Default: "false", Reload: NextConnection,
		Meaning: "Whether a client must show a certificate that is valid.",
		field:   boolField{at: func(t target) *bool { return &t.l.TLS.RequireCertificate }},
	},
	{
		Name: "tls_engine", Section: "listener", place: opensImplicit, Values: "engine",
		Meaning: "Refused: there are no OpenSSL engines here.",
		field:   refusedField{read: readText, why: noEngine},
	},
	{
		Name: "tls_engine_kpass_sha1", Section: "listener", place: opensImplicit, Values: "40 hexadecimal digits",
		Meaning: "Refused, as `tls_engine`.",
		field:   refusedField{read: readSHA1, why: noEngine},
	},
	{
		Name: "tls_keyform", Section: "listener", place: opensImplicit, Values: "`pem`",
		Meaning: "Form of the key. `engine` is refused, as `tls_engine`.",
		field:   refusedField{read: readKeyForm, why: noEngine, tolerate: notEngine},
	},
	{
		Name: "tls_version", Section: "listener", place: inListener, Values: "`tlsv1.2` or `tlsv1.3`", Reload: NextConnection,
		Meaning: "Lowest version of TLS; without the option 1.2. `tlsv1.1` still works, with a warning.",
		field:   textField{at: func(t target) *string { return &t.l.TLS.Version }},
	},
	{
		Name: "use_identity_as_username", Section: "listener", place: opensImplicit, Values: boolValues, Default: "false", Reload: AtOnce,
		Meaning: "With `require_certificate`: the common name in the certificate is the user name, and no password is asked for.",
		field:   boolField{at: func(t target) *bool { return &t.l.UseIdentityAsUsername }},
	},
	{
		Name: "use_subject_as_username", Section: "listener", place: opensImplicit, Values: boolValues, Default: "false", Reload: AtOnce,
		Meaning: "Likewise the whole subject, as RFC 2253 writes it. `use_identity_as_username` wins.",
		field:   boolField{at: func(t target) *bool { return &t.l.UseSubjectAsUsername }},
	},
}

// readSHA1 checks the digest of an engine's pass phrase.
func readSHA1(p *parser, o *Option, rest string) error {
	s, err := p.parseString(o.Name, rest)
	if err != nil {
		return err
	}
	if b, err := hex.DecodeString(s); err != nil || len(b) != 20 {
		return p.errorf("Error: Invalid '%s' value (%s).", o.Name, s)
	}
	return nil
}

func readKeyForm(p *parser, o *Option, rest string) error {
	_, err := p.word(o.Name, rest)
	return err
}

// notEngine takes every word but one for pem, as Mosquitto does.
func notEngine(rest string) bool {
	w, _ := cutWord(strings.TrimRight(rest, " "))
	return w != "" && w != "engine"
}
