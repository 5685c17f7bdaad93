// Package examples has complete programs on the client library, one in each folder, short enough to read in a minute:
//
//	producer, consumer  random numbers, a status kept by the will, a persistent session, $SYS
//	request             request and response as one call
//	outbox              messages that survive the end of the program
//	failover            two brokers, one used at a time
//	browser             a page with mqtt.js that follows the producer
//
// Start a broker first, for example with "midge serve". The package itself has nothing but the tests, which run the programs
// as processes. Nothing imports it.
package examples
