// Package device gives a laboratory program its place on a broker.
package device
