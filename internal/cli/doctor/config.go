package doctor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/midgemq/midge/internal/config"
	"github.com/midgemq/midge/internal/logging"
)

// setting is one line of a configuration.
type setting struct {
	name, value string
	file        string
	line        int
}

// settings reads the lines of a file and of those it includes, without judging them: config.Load does that, and stops at the first
// line it does not understand, while the files behind it are worth a look all the same.
func settings(path string, depth int) (list []setting, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	in := bufio.NewScanner(f)
	in.Buffer(nil, 1<<20)
	for n := 1; in.Scan(); n++ {
		text := strings.TrimSpace(in.Text())
		if text == "" || text[0] == '#' {
			continue
		}
		name, value, _ := strings.Cut(text, " ")
		s := setting{name, strings.TrimSpace(value), path, n}
		list = append(list, s)
		if name == "include_dir" && depth < 8 {
			files, _ := filepath.Glob(filepath.Join(s.value, "*.conf"))
			slices.Sort(files)
			for _, f := range files {
				more, err := settings(f, depth+1)
				if err != nil {
					return list, err
				}
				list = append(list, more...)
			}
		}
	}
	return list, in.Err()
}

// examineConfig checks a configuration and everything it names.
func (r *report) examineConfig(ctx context.Context) {
	if bad := r.file(r.o.file, "configuration", self(), mayRead, 0); bad {
		return
	}
	_, err := config.Load(config.Args{Files: []string{r.o.file}}, func(t logging.Type, text string) {
		if t == logging.Warning {
			r.warn("config-warning", "", "%s", text)
		}
	})
	if err != nil {
		e, _ := errors.AsType[*config.Error](err)
		f := finding{Severity: problem, Code: "config-error", Path: r.o.file, Message: strings.Join(strings.Fields(err.Error()), " "), Advice: "correct the line; docs/configuration.md lists every option"}
		if e != nil {
			f.Line = e.Line
			if e.File != "" {
				f.Path = e.File
			}
		}
		r.add(f)
	} else {
		r.ok("config", "the configuration can be read")
	}
	list, err := settings(r.o.file, 0)
	if err != nil {
		r.bad("config-file", "", "%v", err)
		return
	}
	who := r.brokerUser(list)
	r.named(list, who)
	r.pairs(list)
	r.audience(list)
	if !r.o.running {
		r.ports(ctx, list)
	}
}

// brokerUser is who the broker runs as: when root starts it, the option user, which has a default.
func (r *report) brokerUser(list []setting) person {
	me := self()
	if me.uid != 0 {
		return me
	}
	name := "mosquitto"
	for _, s := range list {
		if s.name == "user" {
			name = s.value
		}
	}
	if name == "root" || name == "" {
		return me
	}
	p, err := named(name)
	if err != nil {
		for _, s := range list {
			if s.name == "user" {
				r.add(finding{Severity: problem, Code: "user-unknown", Line: s.line, Message: fmt.Sprintf("line %d, user: this machine has no user %s", s.line, name), Advice: "useradd --system " + name})
			}
		}
		if q, err := named("nobody"); err == nil {
			return q
		}
		return me
	}
	return p
}

// fileOptions are the options that name a file to be read. Keys and passwords should not be readable by everybody.
var fileOptions = map[string]bool{
	"password_file": true, "acl_file": false, "cafile": false, "certfile": false, "keyfile": true, "crlfile": false, "psk_file": true,
	"dhparamfile": false, "bridge_cafile": false, "bridge_certfile": false, "bridge_keyfile": true, "plugin": false, "auth_plugin": false,
	"global_plugin": false, "plugin_opt_config_file": true,
}

// named checks every file and directory that the configuration names.
func (r *report) named(list []setting, who person) {
	for _, s := range list {
		secret, isFile := fileOptions[s.name]
		switch {
		case isFile && s.value != "":
			if r.file(s.value, s.name, who, mayRead, s.line) {
				continue
			}
			if secret {
				r.exposed(s)
			}
			if s.name == "cafile" || s.name == "bridge_cafile" {
				r.authority(s.value, s.name, s.line)
			}
		case s.name == "capath" || s.name == "include_dir" || s.name == "bridge_capath" || s.name == "http_dir":
			if info, err := os.Stat(s.value); err != nil || !info.IsDir() {
				r.add(finding{Severity: problem, Code: "directory-missing", Path: s.value, Line: s.line, Message: fmt.Sprintf("line %d, %s: the directory %s does not exist", s.line, s.name, s.value), Advice: "check the path"})
			} else if f := access(filepath.Join(s.value, "x"), "directory-permission", "look into "+s.name, who, 0); f.Severity != fine {
				f.Line = s.line
				r.add(f)
			}
		case s.name == "persistence_location":
			r.directory(s.value, s.name, who, s.line)
		case s.name == "persistence_file" || s.name == "autosave_on_changes":
		case s.name == "pid_file":
			r.directory(filepath.Dir(s.value), s.name, self(), s.line) // written before the broker gives its rights up
		case s.name == "log_dest" && strings.HasPrefix(s.value, "file "):
			path := strings.TrimSpace(strings.TrimPrefix(s.value, "file "))
			if _, err := os.Stat(path); err == nil {
				r.file(path, s.name, who, mayWrite, s.line)
			} else {
				r.directory(filepath.Dir(path), s.name, who, s.line)
			}
		}
	}
}

// exposed warns of secrets that everybody on the machine can read.
func (r *report) exposed(s setting) {
	info, err := os.Stat(s.value)
	if err != nil || info.Mode().Perm()&0o007 == 0 || self().uid < 0 {
		return
	}
	r.add(finding{
		Severity: warning, Code: "file-exposed", Path: s.value, Mode: mode(info), Line: s.line, Advice: "chmod o-rwx " + s.value,
		Message: fmt.Sprintf("line %d, %s: everybody on this machine can read %s (mode %s)", s.line, s.name, s.value, mode(info)),
	})
}

// pairs checks the certificates of listeners with their keys.
func (r *report) pairs(list []setting) {
	var cert, key setting
	check := func() {
		if cert.value != "" && key.value != "" && readable(cert.value) && readable(key.value) {
			r.pair(cert.value, key.value, cert.line)
		}
		cert, key = setting{}, setting{}
	}
	for _, s := range list {
		switch s.name {
		case "listener":
			check()
		case "certfile":
			cert = s
		case "keyfile":
			key = s
		}
	}
	check()
}

func readable(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	f.Close()
	return true
}

// audience warns of configurations that let in nobody, or nobody from elsewhere.
func (r *report) audience(list []setting) {
	has := func(name string) bool {
		return slices.ContainsFunc(list, func(s setting) bool { return s.name == name })
	}
	anonymous := slices.ContainsFunc(list, func(s setting) bool { return s.name == "allow_anonymous" && s.value == "true" })
	listens := has("listener") || has("port")
	known := false
	for _, name := range []string{"password_file", "psk_file", "plugin", "auth_plugin", "global_plugin", "use_identity_as_username", "use_subject_as_username"} {
		known = known || has(name)
	}
	if listens && !anonymous && !known {
		r.warn("nobody-allowed", "add password_file (midge passwd makes it), or 'allow_anonymous true' if everybody may connect", "the configuration has a listener but lets nobody in: no allow_anonymous true, no password_file, no plugin")
	}
	if !listens {
		r.warn("listener-local-only", "add 'listener 1883' for other machines", "the configuration has no listener: the broker is there for this machine only")
	}
}

// ports tries to open what the broker will open.
func (r *report) ports(ctx context.Context, list []setting) {
	type place struct {
		port, address string
		line          int
	}
	var places []place
	bind := ""
	for _, s := range list {
		f := strings.Fields(s.value)
		switch {
		case s.name == "listener" && len(f) > 0:
			p := place{port: f[0], line: s.line}
			if len(f) > 1 {
				p.address = f[1]
			}
			places = append(places, p)
		case s.name == "port" && len(f) > 0:
			places = append(places, place{port: f[0], line: s.line})
		case s.name == "bind_address":
			bind = s.value
			if len(places) > 0 && places[len(places)-1].address == "" {
				places[len(places)-1].address = bind
			}
		}
	}
	if len(places) == 0 {
		places = []place{{port: "1883", address: "127.0.0.1"}}
	}
	for _, p := range places {
		if p.port == "0" {
			if p.address != "" {
				r.directory(filepath.Dir(p.address), "listener 0", self(), p.line)
			}
			continue
		}
		r.port(ctx, p.port, p.address, p.line)
	}
}

func (r *report) port(ctx context.Context, port, address string, line int) {
	n, err := strconv.Atoi(port)
	if err != nil || n < 1 || n > 65535 {
		return // config.Load has said it
	}
	full := net.JoinHostPort(address, port)
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", full)
	if err == nil {
		l.Close()
		r.ok("port-free", "%sport %s is free", at(line), full)
		return
	}
	f := finding{Severity: problem, Line: line}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		f.Code, f.Advice = "port-in-use", "stop the other program, or choose another port; if it is this broker that runs, use --running"
		f.Message = fmt.Sprintf("%sport %s is in use%s", at(line), full, listenerOf(n))
	case errors.Is(err, syscall.EACCES):
		f.Code, f.Advice = "port-privileged", "start the broker as root (it gives the right up after), or choose a port from 1024 on"
		f.Message = fmt.Sprintf("%sport %s: %s (uid %d) may not open ports below 1024", at(line), full, self().name, self().uid)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		f.Code, f.Advice = "address-not-here", "use an address of this machine, or none for all of them"
		f.Message = fmt.Sprintf("%s%s is no address of this machine", at(line), address)
	default:
		f.Code, f.Message = "port", fmt.Sprintf("%sport %s cannot be opened: %v", at(line), full, cause(err))
	}
	r.add(f)
}
