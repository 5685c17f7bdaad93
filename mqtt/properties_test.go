package mqtt

import "testing"

func TestUserValue(t *testing.T) {
	p := &Properties{User: []UserProperty{{"k", "1"}, {"", "empty"}, {"k", "2"}}}
	for key, want := range map[string]string{"k": "1", "": "empty"} {
		if got, ok := p.UserValue(key); !ok || got != want {
			t.Errorf("%q = %q %v, want %q", key, got, ok, want)
		}
	}
	if _, ok := p.UserValue("K"); ok {
		t.Error("names are compared without their case")
	}
	if _, ok := (*Properties)(nil).UserValue("k"); ok {
		t.Error("nil has a user property")
	}
}
