// Command peers runs a broker that is a Go library, in its plainest form, so that
// `make bench` can measure midge beside it. It is a module of its own: what it
// needs never enters midge's.
//
//	peers mochi PORT
//	peers nats PORT
//	peers version mochi|nats
//
// It listens on 127.0.0.1 and lets everyone in, until SIGTERM. nats keeps its
// JetStream in a directory of its own below the current one.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"syscall"
)

// modules are the brokers' import paths.
var modules = map[string]string{"mochi": "github.com/mochi-mqtt/server/v2", "nats": "github.com/nats-io/nats-server/v2"}

// starters start a broker and return what stops it.
var starters = map[string]func(port int) (stop func(), err error){"mochi": startMochi, "nats": startNATS}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("usage: peers mochi|nats PORT, peers version mochi|nats")
	}
	if args[0] == "version" {
		info, _ := debug.ReadBuildInfo()
		for _, d := range info.Deps {
			if d.Path == modules[args[1]] {
				fmt.Println(d.Version)
				return nil
			}
		}
		return fmt.Errorf("no broker %q", args[1])
	}
	start, ok := starters[args[0]]
	if !ok {
		return fmt.Errorf("no broker %q", args[0])
	}
	port, err := strconv.ParseUint(args[1], 10, 16)
	if err != nil {
		return fmt.Errorf("port: %w", err)
	}
	stop, err := start(int(port))
	if err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, os.Interrupt, syscall.SIGTERM)
	<-end
	stop()
	return nil
}
