package rawmqtt

import "strings"

// Match is the naive reference matcher: it follows the standard's words level by
// level and is as slow as that is [MQTT-4.7.1-2] [MQTT-4.7.1-3] [MQTT-4.7.2-1].
func Match(filter, topic string) bool {
	if strings.HasPrefix(topic, "$") && !strings.HasPrefix(filter, "$") {
		// A wildcard at the first level never stands for a $ topic, and nothing else
		// that does not begin with $ can equal one.
		return false
	}
	return matchLevels(strings.Split(filter, "/"), strings.Split(topic, "/"))
}

func matchLevels(f, t []string) bool {
	switch {
	case len(f) == 0:
		return len(t) == 0
	case f[0] == "#":
		return true // this level's parent and everything below
	case len(t) == 0:
		return false
	case f[0] == "+" || f[0] == t[0]:
		if len(t) == 1 && len(f) == 2 && f[1] == "#" {
			return true
		}
		return matchLevels(f[1:], t[1:])
	}
	return false
}
