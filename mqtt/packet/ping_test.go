package packet

import (
	"testing"

	"github.com/midgemq/midge/mqtt"
)

// covers: 3:U311-3.12.1-1
func TestPing(t *testing.T) {
	checkGood(t, []goodCase{
		{all, "c0 00", &Pingreq{}, false},
		{all, "d0 00", &Pingresp{}, false},
	})
	checkBad(t, []badCase{
		{all, "c0 01 00", mqtt.MalformedPacket},
		{all, "d0 01 00", mqtt.MalformedPacket},
		{not31, "c1 00", mqtt.MalformedPacket},
		{not31, "d1 00", mqtt.MalformedPacket},
	})
}

func FuzzPingreq(f *testing.F) { fuzzPacket(f, PINGREQ, "c0 00", "c1 00", "c0 01 00") }

func FuzzPingresp(f *testing.F) { fuzzPacket(f, PINGRESP, "d0 00", "d2 00", "d0 01 00") }
