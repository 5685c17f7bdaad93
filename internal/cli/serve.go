package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/midgemq/midge/internal/admin"
	"github.com/midgemq/midge/internal/auth"
	"github.com/midgemq/midge/internal/config"
	"github.com/midgemq/midge/internal/logging"
)

// symlinksEnv is the environment variable that lets sensitive files be symbolic
// links.
const symlinksEnv = "MOSQUITTO_UNSAFE_ALLOW_SYMLINKS"

// closeTime bounds an orderly end: service managers allow at least 10 s.
const closeTime = 8 * time.Second

// serve runs a broker until a signal ends it and returns the exit status.
func serve(e *Env, program string, args []string) int {
	early := logging.Start(e.Stderr)
	a, argErr := parseServe(args)
	if argErr != nil {
		if !argErr.bare {
			early.Error("%s", argErr.text)
			return statusInvalid
		}
		fmt.Fprintln(e.Stderr, argErr.text)
		serveUsage(e.Stdout, program, MosquittoVersion(e.Version))
		return statusInvalid
	}
	switch {
	case a.help:
		serveUsage(e.Stdout, program, MosquittoVersion(e.Version))
		return exitOK
	case a.version:
		fmt.Fprintf(e.Stdout, "mosquitto %s\nCopyright the midge authors.\nLicense Apache-2.0.\n", MosquittoVersion(e.Version))
		return exitOK
	}
	cfg, err := config.Load(a.Args, func(t logging.Type, text string) { early.Printf(t, "%s", text) })
	if err != nil {
		return refuseConfig(early, err)
	}
	if a.testConfig {
		if len(a.Files) == 0 {
			early.Error("Please provide a configuration file to test.")
			return statusInvalid
		}
		early.Info("Configuration file is OK.")
		return exitOK
	}
	if a.daemon && !inBackground() {
		if err := startBackground(e.Args); err != nil {
			early.Error("Error: Unable to go into the background: %v.", err)
			return statusSystem
		}
		return exitOK
	}
	s := &service{env: e, args: a, cfg: cfg, early: early, controlPath: admin.DefaultPath()}
	return s.run()
}

// refuseConfig logs a configuration error and gives the status it ends with.
func refuseConfig(l *logging.Logger, err error) int {
	logLines(l, err)
	if c, ok := errors.AsType[*config.Error](err); ok && c.Plugin {
		return statusPlugin
	}
	return statusInvalid
}

// logLines logs a configuration error, which may have several lines.
func logLines(l *logging.Logger, err error) {
	if c, ok := errors.AsType[*config.Error](err); ok {
		for _, line := range c.Lines() {
			l.Error("%s", line)
		}
		return
	}
	if _, ok := errors.AsType[*auth.FileError](err); ok {
		l.Error("%v", err) // a whole line, or several
		return
	}
	l.Error("Error: %v.", err)
}

// service is a broker process from its configuration to its end.
type service struct {
	env   *Env
	args  *serveArgs
	early *logging.Logger // before the configured log is open

	mu  sync.Mutex // one reload at a time; guards cfg once the broker runs
	cfg *config.Config

	controlPath string // asked for before the user changes, who may have another default

	log     *logging.Logger
	broker  Server
	control *admin.Server
	notify  *notifier
	pidFile string
}

// run is the plan of a broker process. The order is Mosquitto's: rights are
// gone before any file, log or port is touched, and signals are handled once
// the listeners are open, except those that would end the process at once.
func (s *service) run() int {
	signals := make(chan os.Signal, 8)
	watchSignals(signals)
	defer signal.Stop(signals)

	for _, step := range []func() int{s.dropPrivileges, s.setUmask} {
		if status := step(); status != exitOK {
			return status
		}
	}
	if status := s.writePID(); status != exitOK {
		return status
	}
	defer s.removePID()
	s.openLog()
	defer s.log.Close()
	s.sayStarting()

	// Whoever asks for a reload through the control socket waits for the start.
	s.mu.Lock()
	if status := s.start(); status != exitOK {
		s.mu.Unlock()
		return status
	}
	s.sayRunning()
	notify := startNotify(s.log)
	defer notify.end()
	s.notify = notify
	s.mu.Unlock()
	status := s.handle(signals)
	notify.stopping()
	if end := s.stop(); status == exitOK {
		status = end
	}
	return status
}

// openLog puts the configured log in force. A destination that cannot be opened
// does not stop the start.
func (s *service) openLog() {
	o := s.cfg.Logging()
	o.Stdout, o.Stderr = s.env.Stdout, s.env.Stderr
	l, err := logging.New(o)
	if err != nil && o.Dest&logging.ToFile == 0 {
		s.early.Error("Error: %v.", err)
	}
	s.log = l
}

func (s *service) sayStarting() {
	l := s.log
	l.Info("Info: running mosquitto as %s.", userName())
	l.Info("mosquitto version %s starting", MosquittoVersion(s.env.Version))
	if s.cfg.File != "" {
		l.Info("Config loaded from %s.", s.cfg.File)
	} else {
		l.Info("Using default config.")
	}
	for _, f := range []struct{ name, not string }{
		{"Bridge", "NOT "}, {"Persistence", ""}, {"TLS", ""}, {"TLS-PSK", "NOT "}, {"Websockets", ""},
	} {
		l.Info("%s support %savailable.", f.name, f.not)
	}
	if _, on := os.LookupEnv(symlinksEnv); on {
		l.Notice("%s is set: sensitive files may be symbolic links.", symlinksEnv)
	}
	if s.cfg.LocalOnly {
		l.Warning("Starting in local only mode. Connections will only be possible from clients running on this machine.")
		l.Warning("Create a configuration file which defines a listener to allow remote access.")
		l.Warning("For more details see https://mosquitto.org/documentation/authentication-methods/")
	}
}

// start opens listeners and control socket.
func (s *service) start() int {
	b, err := s.env.NewServer(s.cfg, s.log, "mosquitto version "+MosquittoVersion(s.env.Version))
	if err != nil {
		if _, ok := errors.AsType[*auth.FileError](err); ok {
			s.log.Error("%v", err)
			return statusInvalid
		}
		s.log.Error("Error: %v.", err)
		if e, ok := errors.AsType[interface {
			error
			ExitStatus() int
		}](err); ok {
			return e.ExitStatus()
		}
		return statusListen
	}
	s.broker = b
	if err := b.Start(); err != nil {
		s.log.Error("Error: %v.", err)
		s.closeBroker()
		return statusListen
	}
	if err := s.openControl(); err != nil {
		s.log.Error("Error: %v.", err)
		s.closeBroker()
		return statusListen
	}
	return exitOK
}

// openControl opens the control socket. The default one is a convenience: when
// it cannot be had, the broker runs without.
func (s *service) openControl() error {
	path := s.cfg.ControlSocket
	if path == "none" {
		return nil
	}
	if path == "" {
		path = s.controlPath
	}
	commands := admin.NewCommands(s.broker.Admin())
	s.addCommands(commands)
	c, err := admin.Listen(path, commands)
	if err != nil {
		if s.cfg.ControlSocket != "" {
			return err
		}
		s.log.Warning("Warning: Running without a control socket: %v. Set 'control_socket' to give it another place, or to 'none'.", err)
		return nil
	}
	s.control = c
	go func() {
		if err := c.Serve(); err != nil {
			s.log.Error("Error: %v.", err)
		}
	}()
	return nil
}

func (s *service) sayRunning() {
	s.log.Info("mosquitto version %s running", MosquittoVersion(s.env.Version))
	for _, line := range reachable(s.cfg) {
		s.log.Info("%s", line)
	}
}

// reachable says who can connect, listener by listener, and how to try it.
func reachable(c *config.Config) (lines []string) {
	who := "Clients on this machine"
	if !c.LocalOnly {
		who = "Clients"
	}
	var free, login, shut []string // places
	var try *config.Listener       // the first that a plain client can use
	for _, l := range c.Listeners {
		if l.Protocol == config.HTTPAPI {
			continue
		}
		places := &free
		switch {
		case l.AllowAnonymous:
			if try == nil && l.Protocol == config.MQTT && !l.TLS.On() {
				try = l
			}
		case asksForLogin(l):
			places = &login
		default:
			places = &shut
		}
		if place := placeOf(l, c.LocalOnly); len(*places) == 0 || (*places)[len(*places)-1] != place {
			*places = append(*places, place)
		}
	}
	if len(free) > 0 {
		lines = append(lines, who+" can connect, without a user name, to "+strings.Join(free, ", ")+".")
	}
	if len(login) > 0 {
		lines = append(lines, who+" who can log in can connect to "+strings.Join(login, ", ")+".")
	}
	if len(shut) > 0 {
		lines = append(lines, "Nobody can connect to "+strings.Join(shut, ", ")+": 'allow_anonymous' is false and there is no other way to log in.")
	}
	if try == nil {
		return lines
	}
	flags := ""
	switch {
	case try.Path != "":
		flags = " --unix " + try.Path
	case try.Address != "" && !c.LocalOnly:
		flags = " -h " + try.Address
	}
	if try.Path == "" && try.Port != 1883 {
		flags += " -p " + strconv.Itoa(try.Port)
	}
	return append(lines, fmt.Sprintf("Try: midge sub%s -t hello -v & midge pub%s -t hello -m world", flags, flags))
}

// placeOf names one listener for people.
func placeOf(l *config.Listener, localOnly bool) string {
	place := "port " + strconv.Itoa(l.Port)
	switch {
	case l.Path != "":
		place = "the socket " + l.Path
	case l.Address != "" && !localOnly:
		place = l.Address + " " + place
	case !localOnly:
		place += " of every address of this machine"
	}
	switch {
	case l.Protocol == config.WebSockets && l.TLS.On():
		place += " (WebSocket over TLS)"
	case l.Protocol == config.WebSockets:
		place += " (WebSocket)"
	case l.TLS.On():
		place += " (TLS)"
	}
	return place
}

// asksForLogin reports whether a listener knows users.
func asksForLogin(l *config.Listener) bool {
	return l.Security.PasswordFile != "" || l.UseIdentityAsUsername || l.UseSubjectAsUsername
}

// stop ends the broker in order.
func (s *service) stop() int {
	status := exitOK
	if s.control != nil {
		if err := s.control.Close(); err != nil {
			s.log.Warning("Warning: Closing the control socket: %v.", err)
		}
	}
	if !s.closeBroker() {
		status = exitFailed
	}
	s.log.Info("mosquitto version %s terminating", MosquittoVersion(s.env.Version))
	return status
}

func (s *service) closeBroker() bool {
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	if err := s.broker.Close(ctx); err != nil {
		s.log.Error("Error: The broker did not end in order: %v.", err)
		return false
	}
	return true
}

// writePID writes the file that pid_file names: the number without a line
// feed. Service managers under other users read it, so it is world-readable.
func (s *service) writePID() int {
	if s.cfg.PIDFile == "" {
		return exitOK
	}
	if err := os.WriteFile(s.cfg.PIDFile, []byte(strconv.Itoa(os.Getpid())), 0o644); err != nil {
		s.early.Error("Error: Unable to write pid file.")
		return statusSystem
	}
	s.pidFile = s.cfg.PIDFile
	return exitOK
}

func (s *service) removePID() {
	if s.pidFile == "" {
		return
	}
	if err := os.Remove(s.pidFile); err != nil {
		s.log.Warning("Warning: Unable to remove pid file: %v.", err)
	}
}
