package tlsconf

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
)

// suite is a cipher suite of crypto/tls for TLS 1.2 and older, under its OpenSSL
// name, with the words that OpenSSL's cipher lists select it by.
type suite struct {
	id   uint16
	name string
	tags string
}

// suites are those of crypto/tls but RC4 and 3DES, which OpenSSL builds leave out
// as well. The order is crypto/tls's own, which it keeps whatever is configured.
var suites = []suite{
	{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE ECDSA AES128 AESGCM TLSv1.2"},
	{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE aRSA AES128 AESGCM TLSv1.2"},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE ECDSA AES256 AESGCM TLSv1.2"},
	{tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE aRSA AES256 AESGCM TLSv1.2"},
	{tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE ECDSA CHACHA20 TLSv1.2"},
	{tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-RSA-CHACHA20-POLY1305", "ECDHE aRSA CHACHA20 TLSv1.2"},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, "ECDHE-ECDSA-AES128-SHA", "ECDHE ECDSA AES128 SHA1 TLSv1.0"},
	{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, "ECDHE-RSA-AES128-SHA", "ECDHE aRSA AES128 SHA1 TLSv1.0"},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, "ECDHE-ECDSA-AES256-SHA", "ECDHE ECDSA AES256 SHA1 TLSv1.0"},
	{tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA, "ECDHE-RSA-AES256-SHA", "ECDHE aRSA AES256 SHA1 TLSv1.0"},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256, "ECDHE-ECDSA-AES128-SHA256", "ECDHE ECDSA AES128 SHA256 TLSv1.2"},
	{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256, "ECDHE-RSA-AES128-SHA256", "ECDHE aRSA AES128 SHA256 TLSv1.2"},
	{tls.TLS_RSA_WITH_AES_128_GCM_SHA256, "AES128-GCM-SHA256", "kRSA aRSA AES128 AESGCM TLSv1.2"},
	{tls.TLS_RSA_WITH_AES_256_GCM_SHA384, "AES256-GCM-SHA384", "kRSA aRSA AES256 AESGCM TLSv1.2"},
	{tls.TLS_RSA_WITH_AES_128_CBC_SHA256, "AES128-SHA256", "kRSA aRSA AES128 SHA256 TLSv1.2"},
	{tls.TLS_RSA_WITH_AES_128_CBC_SHA, "AES128-SHA", "kRSA aRSA AES128 SHA1 SSLv3"},
	{tls.TLS_RSA_WITH_AES_256_CBC_SHA, "AES256-SHA", "kRSA aRSA AES256 SHA1 SSLv3"},
}

// aliases are other words for a tag, and words for several tags.
var aliases = map[string][]string{
	"kECDHE": {"ECDHE"}, "kEECDH": {"ECDHE"}, "EECDH": {"ECDHE"}, "ECDH": {"ECDHE"},
	"RSA": {"kRSA"}, "aECDSA": {"ECDSA"}, "AES": {"AES128", "AES256"}, "SHA": {"SHA1"},
	"TLSv1": {"TLSv1.0", "SSLv3"}, "TLSv1.0": {"TLSv1.0", "SSLv3"},
	"ALL": {"ECDHE", "kRSA"}, "HIGH": {"ECDHE", "kRSA"}, "FIPS": {"AES128", "AES256"},
}

// foreign are words of OpenSSL for kinds that crypto/tls does not have; they
// select nothing, and excluding them is only prudent.
var foreign = strings.Fields(`DHE EDH kDHE kEDH DH ADH AECDH kDHr kDHd aDH aDSS DSS aNULL eNULL NULL LOW MEDIUM EXPORT EXP
	EXPORT40 EXPORT56 SSLv2 3DES DES RC4 RC2 IDEA SEED MD5 CAMELLIA CAMELLIA128 CAMELLIA256 ARIA ARIA128 ARIA256 ARIAGCM AESCCM AESCCM8
	PSK kPSK aPSK kECDHEPSK kDHEPSK kRSAPSK SRP kSRP aSRP aGOST aGOST01 kGOST GOST94 GOST89MAC kECDHr kECDHe kECDH aECDH
	SHA384 COMPLEMENTOFALL COMPLEMENTOFDEFAULT`)

// defaultSuites is what DEFAULT means, and no list at all: what crypto/tls thinks
// sound. Key exchange by RSA alone has to be asked for.
func defaultSuites() []uint16 {
	var ids []uint16
	for _, s := range tls.CipherSuites() {
		if slices.Contains(s.SupportedVersions, tls.VersionTLS12) && slices.ContainsFunc(suites, func(x suite) bool { return x.id == s.ID && !x.has("kRSA") }) {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

func (s *suite) has(tag string) bool { return slices.Contains(strings.Fields(s.tags), tag) }

// cipherSuites reads an OpenSSL cipher list. Which suites remain is what it
// decides; their order is crypto/tls's own.
func cipherSuites(list string, warn func(string, ...any)) ([]uint16, error) {
	if list == "" {
		return nil, nil
	}
	bad := func(cause error) error {
		return &Error{"ciphers", fmt.Sprintf("Unable to set TLS ciphers. Check cipher list %q.", list), cause}
	}
	if len(list) > 4096 {
		return nil, bad(fmt.Errorf("longer than 4096 bytes"))
	}
	in, killed := map[uint16]bool{}, map[uint16]bool{}
	for _, word := range strings.FieldsFunc(list, func(r rune) bool { return strings.ContainsRune(":, ;", r) }) {
		if strings.HasPrefix(word, "@") {
			if word != "@STRENGTH" && !strings.HasPrefix(word, "@SECLEVEL=") {
				return nil, bad(fmt.Errorf("%s is no command", word))
			}
			continue // crypto/tls sorts by itself, and has nothing below level 1
		}
		op := word[0]
		if strings.IndexByte("!-+", op) >= 0 {
			word = word[1:]
		}
		ids, ok := selectSuites(word)
		if !ok {
			warn("Warning: The cipher %q in 'ciphers' is not known here and is left out.", word)
		}
		for _, id := range ids {
			switch op {
			case '!':
				killed[id] = true
			case '-':
				delete(in, id)
			case '+':
			default:
				in[id] = true
			}
		}
	}
	var out []uint16
	for _, s := range suites {
		if in[s.id] && !killed[s.id] {
			out = append(out, s.id)
		}
	}
	if len(out) == 0 {
		return nil, bad(fmt.Errorf("no cipher remains that this program has: it has ECDHE and RSA key exchange with AES-GCM, AES-CBC and ChaCha20"))
	}
	return out, nil
}

// selectSuites returns what one word of a list stands for; ok is false when a
// part of it is no word at all.
func selectSuites(word string) (ids []uint16, ok bool) {
	if word == "DEFAULT" {
		return defaultSuites(), true
	}
	for _, s := range suites {
		if s.name == word || tls.CipherSuiteName(s.id) == word {
			return []uint16{s.id}, true
		}
	}
	parts := strings.Split(word, "+")
	for _, p := range parts {
		if slices.Contains(foreign, p) {
			parts = nil // of a kind that is not there: selects nothing
		} else if !knownTag(p) {
			return nil, false
		}
	}
	if parts == nil {
		return nil, true
	}
	for _, s := range suites {
		all := true
		for _, p := range parts {
			all = all && s.matches(p)
		}
		if all {
			ids = append(ids, s.id)
		}
	}
	return ids, true
}

func (s *suite) matches(word string) bool {
	if tags, ok := aliases[word]; ok {
		return slices.ContainsFunc(tags, s.has)
	}
	return s.has(word)
}

func knownTag(word string) bool {
	if _, ok := aliases[word]; ok {
		return true
	}
	return slices.ContainsFunc(suites, func(s suite) bool { return s.has(word) })
}

// suites13 are those of TLS 1.3 that crypto/tls always offers.
var suites13 = []string{"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}

// checkSuites13 accepts a list that takes nothing away from what crypto/tls
// offers, whose TLS 1.3 suites cannot be chosen.
func checkSuites13(list string, warn func(string, ...any)) error {
	if list == "" {
		return nil
	}
	bad := func(format string, args ...any) error {
		return &Error{"ciphers_tls1.3", fmt.Sprintf("Unable to set TLS 1.3 ciphersuites. Check ciphers_tls1.3 list %q.", list), fmt.Errorf(format, args...)}
	}
	names := strings.Split(list, ":")
	for _, n := range names {
		switch {
		case slices.Contains(suites13, n):
		case n == "TLS_AES_128_CCM_SHA256", n == "TLS_AES_128_CCM_8_SHA256":
			warn("Warning: The cipher %q in 'ciphers_tls1.3' is not known here and is left out.", n)
		default:
			return bad("%q is no cipher suite of TLS 1.3", n)
		}
	}
	for _, n := range suites13 {
		if !slices.Contains(names, n) {
			return bad("%s is left out, but the TLS library of Go always offers %s", n, strings.Join(suites13, ", "))
		}
	}
	return nil
}

// CipherName is what OpenSSL, and so the log, calls a suite.
func CipherName(id uint16) string {
	for _, s := range suites {
		if s.id == id {
			return s.name
		}
	}
	return tls.CipherSuiteName(id) // of TLS 1.3: the same name
}

// VersionName is what OpenSSL, and so the log, calls a version.
func VersionName(v uint16) string {
	switch v {
	case tls.VersionTLS13:
		return "TLSv1.3"
	case tls.VersionTLS12:
		return "TLSv1.2"
	case tls.VersionTLS11:
		return "TLSv1.1"
	case tls.VersionTLS10:
		return "TLSv1"
	}
	return tls.VersionName(v)
}
