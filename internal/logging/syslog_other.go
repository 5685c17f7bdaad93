//go:build !unix

package logging

import "errors"

const noFollow = 0

func dialSyslog(int) (syslogWriter, error) {
	return nil, errors.New("syslog is not available on this system")
}
