package mqtt

import "strconv"

// Version is the protocol level of a connection, as it stands in CONNECT.
type Version byte

// The three versions that are spoken. Levels 0x83 and 0x84, which some bridges send, are V31 and V311 with packet.Connect.Bridge
// set [U31-30].
const (
	V31  Version = 3
	V311 Version = 4
	V5   Version = 5
)

// Valid reports whether v is one of the three versions above.
func (v Version) Valid() bool { return v >= V31 && v <= V5 }

// String gives the name people use: "3.1", "3.1.1" or "5.0"; any other level is shown as "level N".
func (v Version) String() string {
	switch v {
	case V31:
		return "3.1"
	case V311:
		return "3.1.1"
	case V5:
		return "5.0"
	}
	return "level " + strconv.Itoa(int(v))
}

// QoS is the quality of service of a delivery: how often a message may arrive.
type QoS byte

// The three levels; 3 is malformed wherever it appears [MQTT-3.3.1-4].
const (
	AtMostOnce  QoS = 0
	AtLeastOnce QoS = 1
	ExactlyOnce QoS = 2
)

// Valid reports whether q is 0, 1 or 2.
func (q QoS) Valid() bool { return q <= ExactlyOnce }

// String gives the digit.
func (q QoS) String() string { return strconv.Itoa(int(q)) }
