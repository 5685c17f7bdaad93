// Package packet turns bytes into MQTT packets and back: every packet type of 3.1, 3.1.1 and 5.0, in both directions.
//
// There is one file and one struct per packet. Decode reads the body of one frame without copying or allocating: every slice in the
// struct points into the body and is valid only as long as the caller keeps those bytes. Append writes a whole packet behind dst and
// returns the longer slice, as append does; Size is the number of bytes Append would write.
//
// The package never reads from or writes to a connection, keeps no state between packets, starts no goroutine and reads no clock.
// It does not judge what only a session can know: roles, order, quotas, aliases, permissions. All functions may be called from any
// goroutine; a struct belongs to one goroutine at a time.
//
// Encoders trust their caller: a string above mqtt.MaxString, a packet above mqtt.MaxVarint or a property of another type is a
// programming error and panics, for a truncated length would split the stream at the wrong place. What comes from a user is judged
// beforehand with mqtt.CheckTopicName, mqtt.CheckFilter and CheckProperties; what was decoded always fits.
package packet
