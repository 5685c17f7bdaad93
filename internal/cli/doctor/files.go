package doctor

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// person is who reads or writes a file.
type person struct {
	name   string
	uid    int
	groups []int
}

// Rights on files, as the bits of a mode.
const (
	mayRead  = 4
	mayWrite = 2
	mayEnter = 1
)

// files checks what this client was told to read.
func (r *report) files() {
	o := &r.o.conn
	for _, f := range []struct{ path, what string }{{o.CAFile, "--cafile"}, {o.CertFile, "--cert"}, {o.KeyFile, "--key"}} {
		if f.path == "" {
			continue
		}
		if bad := r.file(f.path, f.what, self(), mayRead, 0); bad {
			continue
		}
		if f.what == "--cafile" {
			r.authority(f.path, f.what, 0)
		}
	}
	if r.problems == 0 && o.CertFile != "" && o.KeyFile != "" {
		r.pair(o.CertFile, o.KeyFile, 0)
	}
}

// file checks that a file is there and that who may do want with it. It reports whether there was a problem.
func (r *report) file(path, what string, who person, want uint32, line int) bool {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		r.add(finding{Severity: problem, Code: "file-missing", Path: path, Line: line, Message: fmt.Sprintf("%s%s: %s does not exist", at(line), what, path), Advice: "check the path; " + deepest(path)})
		return true
	}
	if err == nil && info.IsDir() {
		r.add(finding{Severity: problem, Code: "file-is-directory", Path: path, Line: line, Message: fmt.Sprintf("%s%s: %s is a directory", at(line), what, path), Advice: "name a file in it"})
		return true
	}
	f := access(path, "file-permission", doing(want, what), who, want)
	if f.Severity != fine {
		f.Line = line
		f.Message = at(line) + f.Message
		r.add(f)
		return true
	}
	if err != nil {
		r.add(finding{Severity: problem, Code: "file", Path: path, Line: line, Message: fmt.Sprintf("%s%s: %v", at(line), what, err)})
		return true
	}
	r.ok("file", "%s%s: %s, mode %04o, can be %s by %s (uid %d)", at(line), what, path, info.Mode().Perm(), past(want), who.name, who.uid)
	return false
}

func at(line int) string {
	if line == 0 {
		return ""
	}
	return fmt.Sprintf("line %d, ", line)
}

func doing(want uint32, what string) string {
	if want&mayWrite != 0 {
		return "write to what " + what + " names"
	}
	return "read what " + what + " names"
}

func past(want uint32) string {
	if want&mayWrite != 0 {
		return "written"
	}
	return "read"
}

// deepest says how far a path exists.
func deepest(path string) string {
	dir := filepath.Dir(path)
	for {
		if _, err := os.Stat(dir); err == nil {
			return "what exists of it is " + dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "nothing of it exists"
		}
		dir = up
	}
}

// access judges by the modes of a file and of the directories above it, for this and for other users alike.
func access(path, code, doing string, who person, want uint32) finding {
	full, err := filepath.Abs(path)
	if err != nil {
		full = path
	}
	var dirs []string
	for dir := filepath.Dir(full); ; dir = filepath.Dir(dir) {
		dirs = append([]string{dir}, dirs...)
		if dir == filepath.Dir(dir) {
			break
		}
	}
	uid := who.uid
	for _, dir := range dirs {
		info, err := os.Stat(dir)
		if err != nil {
			break // below a directory that may not be entered nothing can be seen
		}
		if !allowed(info, who, mayEnter) {
			return finding{
				Severity: problem, Code: "directory-permission", Path: dir, Mode: mode(info), UID: &uid,
				Message: fmt.Sprintf("%s (uid %d) cannot %s, %s: the directory %s has mode %s and belongs to %s", who.name, who.uid, doing, path, dir, mode(info), owner(info)),
				Advice:  fmt.Sprintf("chmod o+x %s, or move the file", dir),
			}
		}
	}
	info, err := os.Stat(full)
	if err == nil && !allowed(info, who, want) {
		advice := fmt.Sprintf("chown %s %s, or give a group they are in the right (chgrp, chmod g+r)", who.name, path)
		return finding{
			Severity: problem, Code: code, Path: path, Mode: mode(info), UID: &uid, Advice: advice,
			Message: fmt.Sprintf("%s (uid %d) cannot %s: %s has mode %s and belongs to %s", who.name, who.uid, doing, path, mode(info), owner(info)),
		}
	}
	return finding{Severity: fine, Code: code}
}

func mode(info fs.FileInfo) string { return fmt.Sprintf("%04o", info.Mode().Perm()) }

// directory checks that files can be made in a directory.
func (r *report) directory(path, what string, who person, line int) {
	info, err := os.Stat(path)
	uid := who.uid
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.add(finding{
			Severity: problem, Code: "directory-missing", Path: path, Line: line, UID: &uid, Message: fmt.Sprintf("%s%s: the directory %s does not exist", at(line), what, path),
			Advice: fmt.Sprintf("mkdir -p %s && chown %s %s; %s", path, who.name, path, deepest(path)),
		})
		return
	case err == nil && !info.IsDir():
		r.add(finding{Severity: problem, Code: "directory-is-file", Path: path, Line: line, Message: fmt.Sprintf("%s%s: %s is no directory", at(line), what, path)})
		return
	}
	f := access(path, "directory-permission", "use what "+what+" names", who, 0)
	if f.Severity == fine && err == nil && !allowed(info, who, mayWrite|mayEnter) {
		f = finding{
			Severity: problem, Code: "directory-not-writable", Path: path, Mode: mode(info), UID: &uid,
			Message: fmt.Sprintf("%s: %s (uid %d) cannot write into %s: it has mode %s and belongs to %s", what, who.name, who.uid, path, mode(info), owner(info)),
			Advice:  fmt.Sprintf("chown %s %s", who.name, path),
		}
	}
	if f.Severity != fine {
		f.Line, f.Message = line, at(line)+f.Message
		r.add(f)
		return
	}
	if err != nil {
		r.bad("directory", "", "%s%s: %v", at(line), what, err)
		return
	}
	r.ok("directory", "%s%s: %s can be written by %s (uid %d)", at(line), what, path, who.name, who.uid)
}

// authority checks a file of trusted certificates.
func (r *report) authority(path, what string, line int) {
	certs, err := certificates(path)
	if err != nil || len(certs) == 0 {
		r.add(finding{Severity: problem, Code: "certificate-unreadable", Path: path, Line: line, Message: fmt.Sprintf("%s%s: %s has no certificate in PEM form", at(line), what, path), Advice: "convert it: openssl x509 -inform der -in FILE -out FILE.pem"})
		return
	}
	for _, c := range certs {
		r.dates(c, path, what, line)
	}
}

func certificates(path string) (list []*x509.Certificate, err error) {
	rest, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			return list, nil
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return list, err
		}
		list = append(list, c)
	}
}

func (r *report) dates(c *x509.Certificate, path, what string, line int) {
	now := time.Now()
	switch {
	case now.After(c.NotAfter):
		r.add(finding{Severity: problem, Code: "certificate-date", Path: path, Line: line, Message: fmt.Sprintf("%s%s: the certificate %s in %s expired on %s", at(line), what, c.Subject, path, c.NotAfter.Format(time.RFC3339)), Advice: "renew it"})
	case now.Before(c.NotBefore):
		r.add(finding{Severity: problem, Code: "certificate-date", Path: path, Line: line, Message: fmt.Sprintf("%s%s: the certificate %s in %s is valid only from %s", at(line), what, c.Subject, path, c.NotBefore.Format(time.RFC3339)), Advice: "check this machine's clock"})
	case c.NotAfter.Sub(now) < 14*24*time.Hour:
		r.warn("certificate-expires", "renew it", "%s%s: the certificate %s in %s expires on %s", at(line), what, c.Subject, path, c.NotAfter.Format(time.RFC3339))
	}
}

// pair checks a certificate with its key.
func (r *report) pair(cert, key string, line int) {
	if _, err := tls.LoadX509KeyPair(cert, key); err != nil {
		r.add(finding{Severity: problem, Code: "key-mismatch", Path: key, Line: line, Message: fmt.Sprintf("%sthe certificate %s and the key %s do not work together: %v", at(line), cert, key, err), Advice: "use the key the certificate was made with; an encrypted key must be decrypted first (openssl pkey)"})
		return
	}
	certs, _ := certificates(cert)
	for _, c := range certs {
		r.dates(c, cert, "certificate", line)
	}
	if r.problems == 0 {
		r.ok("key", "%sthe key %s belongs to the certificate %s", at(line), key, cert)
	}
}
