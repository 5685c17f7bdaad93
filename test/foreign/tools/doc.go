// Package tools runs midge's measuring tools (ping, doctor, bench, monitor) against midge and against Debian's mosquitto. The
// tests carry the build tag foreign.
package tools
