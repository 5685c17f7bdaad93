package passwd

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"golang.org/x/term"
)

// maxPassword bounds a line of the prompt, in bytes: what CONNECT can carry.
const maxPassword = 65535

// ask prompts twice. Without a terminal the passwords are two lines of stdin.
func (t *task) ask() (string, error) {
	read := t.reader()
	fmt.Fprint(t.Stdout, "Password: ")
	first, err := read()
	if err != nil || first == "" {
		return "", t.fail(exitFailed, "Empty password.")
	}
	fmt.Fprint(t.Stdout, "\nReenter password: ")
	second, err := read()
	if err != nil || second == "" {
		return "", t.fail(exitFailed, "Empty password.")
	}
	fmt.Fprintln(t.Stdout)
	if first != second {
		return "", t.fail(exitMismatch, "Passwords do not match.")
	}
	return first, nil
}

// reader reads one line at each call, from a terminal without showing it.
func (t *task) reader() func() (string, error) {
	if f, ok := t.Stdin.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return func() (string, error) { return hidden(int(f.Fd())) }
	}
	in := bufio.NewReader(io.LimitReader(t.Stdin, 2*(maxPassword+2)))
	return func() (string, error) {
		s, err := in.ReadString('\n')
		if err != nil && (s == "" || !errors.Is(err, io.EOF)) {
			return "", err
		}
		return strings.TrimRight(s, "\r\n"), nil
	}
}

// hidden reads a line from a terminal with the echo off, and turns it on again
// when the user gives up with Ctrl-C.
func hidden(fd int) (string, error) {
	before, err := term.GetState(fd)
	if err != nil {
		return "", err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt)
	done := make(chan struct{})
	defer close(done)
	defer signal.Stop(stop)
	go func() {
		select {
		case <-stop:
			_ = term.Restore(fd, before)
			os.Exit(exitFailed)
		case <-done:
		}
	}()
	b, err := term.ReadPassword(fd)
	return string(b), err
}
