package mqtt

import "testing"

func TestVersion(t *testing.T) {
	for v, want := range map[Version]string{V31: "3.1", V311: "3.1.1", V5: "5.0", 6: "level 6", 0: "level 0"} {
		if got := v.String(); got != want {
			t.Errorf("Version(%d) = %q, want %q", byte(v), got, want)
		}
		if got := v.Valid(); got != (v == V31 || v == V311 || v == V5) {
			t.Errorf("Version(%d).Valid() = %v", byte(v), got)
		}
	}
	if !ExactlyOnce.Valid() || QoS(3).Valid() || AtLeastOnce.String() != "1" {
		t.Error("QoS 2 is valid, 3 is not, 1 is written 1")
	}
}
