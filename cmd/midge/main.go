// Command midge is an MQTT broker and its tools in one program. It also answers
// to mosquitto, mosquitto_pub and mosquitto_sub when it is called so.
//
// It never holds logic of its own: it prepares the process, hands the broker to
// the command line and ends with the status that comes back.
package main

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/midgemq/midge/broker"
	"github.com/midgemq/midge/internal/cli"
	"github.com/midgemq/midge/internal/config"
	"github.com/midgemq/midge/internal/logging"
)

// version is set by the linker.
var version = "devel"

func main() {
	ignoreRTMIN() // first: until then the signal ends the process
	os.Exit(cli.Main(&cli.Env{
		Args:      os.Args,
		Stdin:     os.Stdin,
		Stdout:    os.Stdout,
		Stderr:    os.Stderr,
		Version:   version,
		NewServer: newBroker,
	}))
}

func newBroker(c *config.Config, l *logging.Logger, version string) (cli.Server, error) {
	b, err := broker.New(broker.Options{
		Config: c, Logger: l, Version: version,
		AsMosquitto: strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe") == "mosquitto",
	})
	if err != nil {
		return nil, err
	}
	return b, nil
}
