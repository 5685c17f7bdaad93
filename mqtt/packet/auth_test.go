package packet

import (
	"testing"

	"github.com/midgemq/midge/mqtt"
)

func TestAuth(t *testing.T) {
	checkGood(t, []goodCase{
		{only5, "f0 06 18 04 15 0001 'm'", &Auth{Code: mqtt.ContinueAuthentication, Props: unhex(t, "15 0001 'm'")}, false},
		{
			only5, "f0 11 00 0f 16 0002 00ff 15 0001 'm' 26 0001 'k' 0000",
			&Auth{Props: unhex(t, "16 0002 00ff 15 0001 'm' 26 0001 'k' 0000")}, false,
		},
	})
	checkBad(t, []badCase{
		{only5, "f0 07 18 04 15 0001 'm' 00", mqtt.MalformedPacket},
		{only5, "f0 06 18 05 15 0001 'm'", mqtt.MalformedPacket},
		{only5, "f0 09 18 07 15 0001 'm' 21 0001", mqtt.MalformedPacket},
		{only3, "f0 06 18 04 15 0001 'm'", mqtt.MalformedPacket},
	})
}

// covers: 5:3.15.1-1
func TestAuthFlags(t *testing.T) {
	checkBad(t, []badCase{
		{only5, "f1 06 18 04 15 0001 'm'", mqtt.MalformedPacket},
		{only5, "f2 06 18 04 15 0001 'm'", mqtt.MalformedPacket},
	})
}

// covers: 5:U5-3.15.2.2.2-1 5:U5-3.15.2.2.3-1 E180
func TestAuthMethod(t *testing.T) {
	checkBad(t, []badCase{
		{only5, "f0 00", mqtt.ProtocolError},
		{only5, "f0 01 18", mqtt.ProtocolError},
		{only5, "f0 02 18 00", mqtt.ProtocolError},
		{only5, "f0 06 18 04 16 0001 'd'", mqtt.ProtocolError},
		{only5, "f0 0a 18 08 15 0001 'm' 15 0001 'm'", mqtt.ProtocolError},
		{only5, "f0 0e 18 0c 15 0001 'm' 16 0001 'd' 16 0001 'd'", mqtt.ProtocolError},
	})
}

func FuzzAuth(f *testing.F) {
	fuzzPacket(f, AUTH, "f0 00", "f0 06 18 04 15 0001 'm'", "f0 11 00 0f 16 0002 00ff 15 0001 'm' 26 0001 'k' 0000")
}
