//go:build unix

package logging

import (
	"log/syslog"
	"syscall"
)

// noFollow makes an open fail on a symbolic link.
const noFollow = syscall.O_NOFOLLOW

// syslogTag is the program name in syslog, the one that existing filters know.
const syslogTag = "mosquitto"

type syslogConn struct{ w *syslog.Writer }

func dialSyslog(facility int) (syslogWriter, error) {
	f := syslog.LOG_DAEMON
	if facility >= 0 {
		f = syslog.LOG_LOCAL0 + syslog.Priority(facility)<<3
	}
	w, err := syslog.New(f|syslog.LOG_INFO, syslogTag)
	if err != nil {
		return nil, err
	}
	return syslogConn{w}, nil
}

func (s syslogConn) write(priority int, line string) error {
	switch priority {
	case int(syslog.LOG_ERR):
		return s.w.Err(line)
	case int(syslog.LOG_WARNING):
		return s.w.Warning(line)
	case int(syslog.LOG_NOTICE):
		return s.w.Notice(line)
	case int(syslog.LOG_DEBUG):
		return s.w.Debug(line)
	}
	return s.w.Info(line)
}

func (s syslogConn) Close() error { return s.w.Close() }
