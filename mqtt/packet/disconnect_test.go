package packet

import (
	"testing"

	"github.com/midgemq/midge/mqtt"
)

// covers: 5:U5-3.14.2-1 E180
func TestDisconnect(t *testing.T) {
	checkGood(t, []goodCase{
		{all, "e0 00", &Disconnect{}, false},
		{only5, "e0 01 00", &Disconnect{}, true},
		{only5, "e0 02 00 00", &Disconnect{}, true},
		{only5, "e0 01 04", &Disconnect{Code: mqtt.DisconnectWithWill}, false},
		{only5, "e0 02 8e 00", &Disconnect{Code: mqtt.SessionTakenOver}, true},
		{only5, "e0 07 00 05 11 0000000a", &Disconnect{Props: unhex(t, "11 0000000a")}, false},
		{only5, "e0 0a 9d 08 1c 0005 'other'", &Disconnect{Code: mqtt.ServerMoved, Props: unhex(t, "1c 0005 'other'")}, false},
	})
	checkBad(t, []badCase{
		{only3, "e0 01 00", mqtt.MalformedPacket},
		{only5, "e0 03 00 00 00", mqtt.MalformedPacket},
		{only5, "e0 02 00 01", mqtt.MalformedPacket},
		{only5, "e0 05 00 03 21 0001", mqtt.MalformedPacket},
	})
}

// covers: 5:3.14.1-1
func TestDisconnectFlags(t *testing.T) {
	checkBad(t, []badCase{
		{not31, "e1 00", mqtt.MalformedPacket},
		{not31, "e2 00", mqtt.MalformedPacket},
	})
}

// covers: 5:U5-3.14.2.2.2-1 5:U5-3.14.2.2.5-1
func TestDisconnectTwice(t *testing.T) {
	checkBad(t, []badCase{
		{only5, "e0 0c 00 0a 11 0000000a 11 0000000a", mqtt.ProtocolError},
		{only5, "e0 0a 9c 08 1c 0001 'a' 1c 0001 'b'", mqtt.ProtocolError},
	})
}

func FuzzDisconnect(f *testing.F) {
	fuzzPacket(f, DISCONNECT, "e0 00", "e0 01 04", "e0 02 8e 00", "e0 07 00 05 11 0000000a", "e0 0a 9d 08 1c 0005 'other'")
}
