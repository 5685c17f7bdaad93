//go:build unix

package signaltool

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// signals are the numbers of the names. RTMIN is glibc's.
var signals = map[string]int{
	"HUP": int(syscall.SIGHUP), "INT": int(syscall.SIGINT), "USR2": int(syscall.SIGUSR2), "RTMIN": 34,
}

func kill(pid, signal int) error { return syscall.Kill(pid, syscall.Signal(signal)) }

// processes reads /proc. A process that ends meanwhile is left out.
func processes() ([]Process, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	if len(dirs) == 0 {
		return nil, errors.New("there is no /proc")
	}
	var list []Process
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil || len(line) == 0 {
			continue
		}
		list = append(list, Process{pid, strings.Split(string(bytes.TrimSuffix(line, []byte{0})), "\x00")})
	}
	return list, nil
}
