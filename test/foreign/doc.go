// Package foreign drives other people's MQTT clients against a broker: Debian's mosquitto_pub and mosquitto_sub, Paho
// Python, Paho's two Go libraries and mqtt.js. It has nothing but tests, behind the build tag foreign:
//
//	make test-foreign
//
// builds midge and runs it as a process on free ports. MIDGE_FOREIGN_BROKER names another broker to test, a program
// that takes mosquitto's arguments; with /usr/sbin/mosquitto the tests themselves can be checked. MIDGE_FOREIGN_TAGS
// are build tags for midge.
//
// Each library has a driver, a small program in its language that carries out requests, one JSON object a line on
// stdin, and reports events, one JSON object a line on stdout; the scenarios are written once, in Go. The page of
// examples/browser is opened in headless Chromium.
package foreign
