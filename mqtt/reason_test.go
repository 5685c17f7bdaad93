package mqtt

import (
	"strings"
	"testing"
)

// covers: 5:U5-2.4-1
func TestReasonCodeIsError(t *testing.T) {
	for i := range 256 {
		if got := ReasonCode(i).IsError(); got != (i >= 0x80) {
			t.Errorf("0x%02X: IsError %v", i, got)
		}
	}
}

func TestReasonCodeNames(t *testing.T) {
	for c, want := range map[ReasonCode]string{
		Success: "Success", GrantedQoS2: "Granted QoS 2", DisconnectWithWill: "Disconnect with Will Message",
		UnspecifiedError: "Unspecified error", MalformedPacket: "Malformed Packet", NotAuthorized: "Not authorized",
		TopicNameInvalid: "Topic Name invalid", PacketTooLarge: "Packet too large", ServerMoved: "Server moved",
		MaximumConnectTime: "Maximum connect time", WildcardSubscriptionsNotSupported: "Wildcard Subscriptions not supported",
		0x7F: "reason 0x7F", 0xA3: "reason 0xA3", 0xFF: "reason 0xFF",
	} {
		if got := c.String(); got != want {
			t.Errorf("0x%02X = %q, want %q", byte(c), got, want)
		}
	}
	named := map[string]ReasonCode{}
	for i := range 256 {
		s := ReasonCode(i).String()
		if strings.HasPrefix(s, "reason ") {
			continue
		}
		if other, ok := named[s]; ok {
			t.Errorf("0x%02X and 0x%02X are both %q", i, byte(other), s)
		}
		named[s] = ReasonCode(i)
	}
	if len(named) != 43 { // the standard's table 2-6 has 43 values
		t.Errorf("%d reason codes have names, want 43", len(named))
	}
}

// covers: 3:U311-3.2.2-2 31:U31-03
func TestConnackCodeV3(t *testing.T) {
	want := map[ReasonCode]byte{
		Success: 0, UnsupportedProtocolVersion: 1, ClientIDNotValid: 2, ServerUnavailable: 3, ServerBusy: 3, QuotaExceeded: 3,
		ConnectionRateExceeded: 3, UseAnotherServer: 3, ServerMoved: 3, BadUserNameOrPassword: 4, NotAuthorized: 5, Banned: 5,
		BadAuthenticationMethod: 5,
	}
	for i := range 256 {
		code, ok := ConnackCodeV3(ReasonCode(i))
		w, has := want[ReasonCode(i)]
		if ok != has || code != w {
			t.Errorf("%v = %d %v, want %d %v", ReasonCode(i), code, ok, w, has)
		}
	}
	for code := range byte(6) {
		if back, ok := ConnackCodeV3(ConnackReasonV3(code)); !ok || back != code {
			t.Errorf("return code %d becomes %v, which becomes %d", code, ConnackReasonV3(code), back)
		}
	}
	if got := ConnackReasonV3(6); got != UnspecifiedError {
		t.Errorf("reserved return code 6 = %v", got)
	}
}

func TestParseReasonCode(t *testing.T) {
	for s, want := range map[string]ReasonCode{"0x82": ProtocolError, "130": ProtocolError, "0": Success} {
		if got, ok := ParseReasonCode(s); !ok || got != want {
			t.Errorf("%q = %v %v, want %v", s, got, ok, want)
		}
	}
	for _, s := range []string{"", "256", "-1", "x"} {
		if got, ok := ParseReasonCode(s); ok {
			t.Errorf("%q was taken as %v", s, got)
		}
	}
}
