//go:build foreign

package cli

import "testing"

// The same scripts with Debian's mosquitto-clients, and against Debian's broker.

func TestMidgeToolsAgainstMosquitto(t *testing.T) { runScripts(t, side{debianBroker: true}) }

func TestDebianToolsAgainstMidge(t *testing.T) { runScripts(t, side{debianTools: true}) }

func TestDebianToolsAgainstMosquitto(t *testing.T) {
	runScripts(t, side{debianTools: true, debianBroker: true})
}
