package target

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// MosquittoPath is Debian's broker, from the package mosquitto.
const MosquittoPath = "/usr/sbin/mosquitto"

// maxRealWait is how far Advance waits in real time for a foreign broker.
const maxRealWait = 5 * time.Second

type mosquitto struct {
	addr string
	cmd  *exec.Cmd
	log  *bytes.Buffer
	done chan error
}

// Mosquitto is a Factory for Debian's Mosquitto on a free loopback port.
func Mosquitto(cfg Config) (Target, error) {
	if _, err := os.Stat(MosquittoPath); err != nil {
		return nil, fmt.Errorf("foreign broker: %w (apt-get install mosquitto)", err)
	}
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	lines, err := mosquittoConfig(cfg, port)
	if err != nil {
		return nil, err
	}
	conf := filepath.Join(cfg.Dir, "mosquitto.conf")
	if err := os.WriteFile(conf, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		return nil, err
	}
	m := &mosquitto{addr: fmt.Sprintf("127.0.0.1:%d", port), log: &bytes.Buffer{}, done: make(chan error, 1)}
	m.cmd = exec.Command(MosquittoPath, "-c", conf)
	m.cmd.Stderr, m.cmd.Stdout = m.log, m.log
	m.cmd.SysProcAttr = dieWithParent()
	if err := m.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", MosquittoPath, err)
	}
	go func() { m.done <- m.cmd.Wait() }()
	if err := m.waitUp(); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

func mosquittoConfig(cfg Config, port int) ([]string, error) {
	// As root it would give up its rights and could not read the files of the test.
	lines := []string{"persistence false", "allow_zero_length_clientid true", "user " + userName()}
	a := cfg.Auth
	if len(a.DenySubscribe)+len(a.DenyRead)+len(a.Refuse)+len(a.Methods)+len(cfg.Options) > 0 {
		return nil, fmt.Errorf("foreign broker: %w: test_option, or test_auth beyond users", ErrUnsupported)
	}
	if len(a.Users) > 0 {
		file := filepath.Join(cfg.Dir, "passwd")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			return nil, err
		}
		for name, pw := range a.Users {
			if out, err := exec.Command("mosquitto_passwd", "-b", file, name, pw).CombinedOutput(); err != nil {
				return nil, fmt.Errorf("mosquitto_passwd: %w: %s", err, out)
			}
		}
		lines = append(lines, "password_file "+file)
	}
	lines = append(lines, fmt.Sprintf("allow_anonymous %t", len(a.Users) == 0 || a.Anonymous))
	if len(a.DenyPublish) > 0 {
		rules := "topic readwrite #\n"
		for _, f := range a.DenyPublish {
			rules += "topic deny " + f + "\n"
		}
		file := filepath.Join(cfg.Dir, "acl")
		if err := os.WriteFile(file, []byte(rules), 0o600); err != nil {
			return nil, err
		}
		lines = append(lines, "acl_file "+file)
	}
	lines = append(lines, cfg.Lines...)
	return append(lines, fmt.Sprintf("listener %d 127.0.0.1", port)), nil
}

func (m *mosquitto) waitUp() error {
	deadline := time.Now().Add(10 * time.Second)
	for time.Now().Before(deadline) {
		select {
		case err := <-m.done:
			m.done <- err
			return fmt.Errorf("foreign broker ended: %w: %s", err, m.log)
		default:
		}
		c, err := net.Dial("tcp", m.addr)
		if err == nil {
			return c.Close()
		}
		time.Sleep(5 * time.Millisecond)
	}
	return fmt.Errorf("foreign broker does not listen on %s: %s", m.addr, m.log)
}

func (m *mosquitto) Name() string        { return "mosquitto" }
func (m *mosquitto) Synchronous() bool   { return false }
func (m *mosquitto) Open() (Pipe, error) { return DialTCP(m.addr) }

// Advance waits in real time: a foreign broker's clock cannot be moved.
func (m *mosquitto) Advance(d time.Duration) error {
	if d > maxRealWait {
		return fmt.Errorf("advance %v: %w: more than %v in real time", d, ErrUnsupported, maxRealWait)
	}
	time.Sleep(d)
	return nil
}

// Close ends the broker and reports a crash.
func (m *mosquitto) Close() error {
	if err := m.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case err := <-m.done:
		if err != nil {
			return fmt.Errorf("foreign broker: %w: %s", err, m.log)
		}
		return nil
	case <-time.After(10 * time.Second):
		_ = m.cmd.Process.Kill()
		<-m.done
		return fmt.Errorf("foreign broker did not stop")
	}
}

// FreePort asks the kernel for a loopback TCP port that nobody uses. Another
// process may take it before the caller does; starting the broker then fails.
func FreePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	port := l.Addr().(*net.TCPAddr).Port
	return port, l.Close()
}

func userName() string {
	u, err := user.Current()
	if err != nil {
		return "root"
	}
	return u.Username
}
