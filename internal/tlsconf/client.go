package tlsconf

// CipherSuites reads an OpenSSL cipher list as the option ciphers does, for programs that connect. warn gets the words that are not
// known.
func CipherSuites(list string, warn func(format string, args ...any)) ([]uint16, error) {
	return cipherSuites(list, warn)
}
