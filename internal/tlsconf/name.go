package tlsconf

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

// attribute names as OpenSSL prints them.
var attributeNames = map[string]string{
	"2.5.4.3": "CN", "2.5.4.4": "SN", "2.5.4.5": "serialNumber", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "ST",
	"2.5.4.9": "street", "2.5.4.10": "O", "2.5.4.11": "OU", "2.5.4.12": "title", "2.5.4.13": "description",
	"2.5.4.15": "businessCategory", "2.5.4.17": "postalCode", "2.5.4.41": "name", "2.5.4.42": "GN", "2.5.4.43": "initials",
	"2.5.4.44": "generationQualifier", "2.5.4.45": "x500UniqueIdentifier", "2.5.4.46": "dnQualifier", "2.5.4.65": "pseudonym",
	"2.5.4.97": "organizationIdentifier", "1.2.840.113549.1.9.1": "emailAddress", "1.2.840.113549.1.9.2": "unstructuredName",
	"0.9.2342.19200300.100.1.1": "UID", "0.9.2342.19200300.100.1.3": "mail", "0.9.2342.19200300.100.1.25": "DC",
}

// names returns the first common name of a subject and the whole subject as
// OpenSSL's XN_FLAG_RFC2253 writes it: the last part first, special characters
// escaped by a backslash, others than ASCII by hexadecimal pairs. A common name
// that is no text, or holds a zero byte, counts as none: what stands before that
// byte could be somebody else's name.
func names(raw []byte) (commonName, subject string) {
	var parts []pkix.RelativeDistinguishedNameSET
	if rest, err := asn1.Unmarshal(raw, (*pkix.RDNSequence)(&parts)); err != nil || len(rest) > 0 {
		return "", ""
	}
	var b strings.Builder
	for i := len(parts) - 1; i >= 0; i-- {
		if i < len(parts)-1 {
			b.WriteByte(',')
		}
		for j, a := range parts[i] {
			if j > 0 {
				b.WriteByte('+')
			}
			oid := a.Type.String()
			name, known := attributeNames[oid]
			if !known {
				name = oid
			}
			b.WriteString(name + "=")
			v, isText := a.Value.(string)
			if !isText || !known {
				der, err := asn1.Marshal(a.Value)
				if err != nil {
					return "", ""
				}
				b.WriteString("#" + strings.ToUpper(hex.EncodeToString(der)))
				continue
			}
			escape(&b, v)
		}
	}
	for _, set := range parts {
		for _, a := range set {
			if a.Type.String() != "2.5.4.3" {
				continue
			}
			if v, ok := a.Value.(string); ok && utf8.ValidString(v) && !strings.Contains(v, "\x00") {
				return v, b.String()
			}
			return "", b.String()
		}
	}
	return "", b.String()
}

// escape writes a value as RFC 2253 section 2.4 asks for.
func escape(b *strings.Builder, v string) {
	for i := range len(v) {
		c := v[i]
		switch {
		case strings.IndexByte(`,+"\<>;`, c) >= 0, i == 0 && (c == '#' || c == ' '), i == len(v)-1 && c == ' ':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c >= 0x7F:
			b.WriteByte('\\')
			b.WriteString(strings.ToUpper(hex.EncodeToString([]byte{c})))
		default:
			b.WriteByte(c)
		}
	}
}
