package hub

import (
	"strings"

	"github.com/midgemq/midge/internal/logging"
	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/mqtt"
)

// deliveryQoS is the QoS for one subscriber: the lower of the two, or that of the
// subscription with upgrade_outgoing_qos.
func (c *Config) deliveryQoS(published, granted mqtt.QoS) mqtt.QoS {
	if c.UpgradeQoS {
		return granted
	}
	return min(published, granted)
}

// checkRoom refuses a client id that is not known yet when there are as many
// sessions as there may be, or no more memory.
func (sh *Shard) checkRoom(a *Admission) *End {
	limit := sh.Hub.Cfg().MaxClients
	if limit == 0 && !sh.Hub.scarce.Load() || sh.Hub.Find(a.ID) != nil {
		return nil
	}
	if sh.Hub.scarce.Load() {
		return sh.busy(a, noMemory)
	}
	if sh.Hub.Sessions() >= limit {
		return sh.busy(a, "global_max_clients is reached")
	}
	return nil
}

// busy refuses a client in the words it can read: MQTT 3 has none for this, its
// connection is closed.
func (*Shard) busy(a *Admission, why string) *End {
	code := mqtt.ServerBusy
	if a.Version != mqtt.V5 {
		code = mqtt.Success
	}
	return &End{Code: code, Reason: logging.ReasonServerBusy, Text: why}
}

// SetScarce says whether memory_limit is reached: then nobody new is let in and
// nothing more is retained or queued. Any goroutine.
func (h *Hub) SetScarce(yes bool) { h.scarce.Store(yes) }

// Scarce reports what SetScarce said. Any goroutine.
func (h *Hub) Scarce() bool { return h.scarce.Load() }

// mounted puts the client's mount point in front of a filter that it named; the
// group of a shared subscription stays in front of both.
func (c *Client) mounted(filter string) string {
	if c.mount == "" {
		return filter
	}
	if _, inner, shared, err := mqtt.ParseShared(filter); shared && err == nil {
		return filter[:len(filter)-len(inner)] + c.mount + inner
	}
	return c.mount + filter
}

// mountTopic does so with the topic of a PUBLISH, in a buffer that the next one
// reuses; false: the whole is longer than a topic may be.
func (sh *Shard) mountTopic(point string, topic []byte) ([]byte, bool) {
	sh.mount = append(append(sh.mount[:0], point...), topic...)
	return sh.mount, len(sh.mount) <= mqtt.MaxString
}

// outside reports whether a message is not below the client's mount point: `#`
// also matches the level above it.
func (c *Client) outside(m *record.Message) bool {
	return c.mount != "" && (len(m.Topic) <= len(c.mount) || !strings.HasPrefix(m.Topic, c.mount))
}

// Unmount returns a message as a client behind a mount point is given it. What
// was queued before the mount point changed keeps its topic.
func Unmount(m *record.Message, point string) record.Message {
	inner := *m
	if t, ok := strings.CutPrefix(m.Topic, point); ok && t != "" {
		inner.Topic = t
	}
	return inner
}
