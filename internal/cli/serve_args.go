package cli

import (
	"fmt"
	"io"
	"strconv"

	"github.com/midgemq/midge/internal/config"
)

// Exit statuses of serve, which service managers know.
const (
	statusListen  = 1  // no listener could be opened
	statusInvalid = 3  // arguments or configuration
	statusPlugin  = 13 // a plugin that cannot be had
	statusSystem  = 14 // the system refused: process id file, change of user
)

// maxPorts is how often -p may be given.
const maxPorts = 10

// serveArgs are the arguments of serve.
type serveArgs struct {
	config.Args
	daemon     bool
	testConfig bool
	strict     bool // end when a reload finds an error
	help       bool
	version    bool
}

// argError is a wrong argument. Those that Mosquitto logs have a timestamp;
// an unknown option is printed bare, and the usage after it.
type argError struct {
	text string
	bare bool
}

func (e *argError) Error() string { return e.text }

// parseServe reads the arguments as Mosquitto does: separate words, long names
// with two dashes, no `--name=value`.
func parseServe(args []string) (*serveArgs, *argError) {
	a := new(serveArgs)
	for i := 0; i < len(args); i++ {
		value := func(missing string) (string, *argError) {
			if i+1 == len(args) {
				return "", &argError{text: "Error: " + args[i] + " argument given, but no " + missing + " specified."}
			}
			i++
			return args[i], nil
		}
		switch name := args[i]; name {
		case "-c", "--config-file":
			file, err := value("config file")
			if err != nil {
				err.text = "Error: -c argument given, but no config file specified."
				return nil, err
			}
			a.Files = append(a.Files, file)
		case "-p", "--port":
			text, err := value("port")
			if err != nil {
				err.text = "Error: -p argument given, but no port specified."
				return nil, err
			}
			if err := a.addPort(text); err != nil {
				return nil, err
			}
		case "-d", "--daemon":
			a.daemon = true
		case "-h", "--help":
			a.help = true
			return a, nil
		case "--version":
			a.version = true
			return a, nil
		case "-q", "--quiet":
			a.Quiet = true
		case "-v", "--verbose":
			a.Verbose = true
		case "--test-config":
			a.testConfig = true
		case "--strict-reload":
			a.strict = true
		case "--tls-keylog":
			file, err := value("tls keylog file")
			if err != nil {
				err.text = "Error: --tls-keylog argument given, but no file specified."
				return nil, err
			}
			a.TLSKeyLog = file
		default:
			return nil, &argError{text: "Error: Unknown option '" + name + "'.", bare: true}
		}
	}
	return a, nil
}

func (a *serveArgs) addPort(text string) *argError {
	port, err := strconv.Atoi(text)
	if err != nil {
		port = 0
	}
	if port < 1 || port > 65535 {
		return &argError{text: fmt.Sprintf("Error: Invalid port specified (%d).", port)}
	}
	if len(a.Ports) == maxPorts {
		return &argError{text: fmt.Sprintf("Error: Only %d ports can be specified on the command line.", maxPorts)}
	}
	a.Ports = append(a.Ports, port)
	return nil
}

// serveUsage prints the help of serve under the name it was called by.
func serveUsage(w io.Writer, program, version string) {
	fmt.Fprintf(w, `%[1]s version %[2]s

%[1]s is an MQTT v5.0/v3.1.1/v3.1 broker.

Usage: %[1]s [-c config_file] [-d] [-h] [-p port] [-q] [-v]
       [--strict-reload] [--test-config] [--tls-keylog file] [--version]

 -c : read this configuration file, in the format of mosquitto.conf.
 -d : go on in the background.
 -h : show this help.
 -p : listen on this port, for this machine only. May be repeated; has no
      effect when the configuration file says where to listen.
 -q : log nothing, whatever the configuration file says.
 -v : log everything, whatever the configuration file says.
 --strict-reload : end with status 3 when a reload finds an error.
 --test-config : check the configuration file and end.
 --tls-keylog : add the secrets of TLS connections to this file, for debugging.
 --version : show the version and end.

Without a configuration file the broker serves clients on this machine, on port
1883, and asks for no user name.
`, program, version)
}
