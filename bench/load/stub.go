//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "load: needs Linux: epoll, and /proc for the broker's CPU")
	os.Exit(2)
}
