//go:build !unix

package signaltool

import "errors"

var signals = map[string]int{}

func kill(int, int) error { return errors.ErrUnsupported }

func processes() ([]Process, error) { return nil, errors.ErrUnsupported }
