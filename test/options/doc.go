// Package options shows what every option of mosquitto.conf does, seen by a
// client of a running broker, and what a reload does with it. Its table names
// for each option the tests that show both; an option without them is an error.
package options
