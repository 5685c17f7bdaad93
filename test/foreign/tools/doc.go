// Package tools runs midge's measuring tools (ping, doctor, bench, monitor) as people do, against midge and against Debian's
// mosquitto, with settings broken on purpose. Its tests carry the build tag foreign; each starts brokers of its own on the
// loopback address and ends them. Nothing imports it.
package tools
