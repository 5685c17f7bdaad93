package broker

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/midgemq/midge/internal/auth"
	"github.com/midgemq/midge/internal/config"
	"github.com/midgemq/midge/internal/hub"
	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/internal/session"
	"github.com/midgemq/midge/internal/store"
	"github.com/midgemq/midge/mqtt"
)

// HubConfig translates the configuration for the hub.
func HubConfig(o *Options) *hub.Config {
	c := o.Config
	inflight := c.MaxInflightMessages
	var control func(*auth.Client, string, []byte)
	if c.EnableControlAPI {
		control = o.control
	}
	h := &hub.Config{
		Control: control, ConnectTimeout: record.Instant(c.Guard.ConnectTimeout) * record.Second,
		Rules: session.Rules{
			MaxInflight: inflight, MaxInflightBytes: int64(c.MaxInflightBytes), QueueQoS0: c.QueueQoS0Messages, MaxQueued: c.MaxQueuedMessages, MaxQueuedBytes: int64(c.MaxQueuedBytes),
			MaxExpiry: expiry(c.PersistentClientExpiration), MaxSubscriptions: maxSubscriptions, QueueWindow: queueWindow,
		},
		MaxPacket: uint32(c.MaxPacketSize), MaxKeepAlive: uint16(c.MaxKeepAlive), MessageSizeLimit: c.MessageSizeLimit,
		RetainAvailable: c.RetainAvailable, AllowDuplicates: c.AllowDuplicateMessages,
		NoWildcards: o.NoWildcards, NoShared: o.NoShared, NoSubscriptionIDs: o.NoSubscriptionIDs,
		MaxOutput: c.MaxOutputBytes, MaxOutputPackets: c.MaxQueuedMessages,
		UpgradeQoS: c.UpgradeOutgoingQoS, MaxClients: c.GlobalMaxClients, CheckRetainSource: c.CheckRetainSource,
		ResponseInfo: o.ResponseInfo, Level: store.Flush, Policy: o.Policy, AssignedID: assignedID,
	}
	storageRules(o, h)
	return h
}

func expiry(d time.Duration) uint32 {
	s := int64(d / time.Second)
	if s >= session.NeverExpires {
		return 0
	}
	return uint32(s)
}

// assignedID makes a client id in the form that Mosquitto uses: behind the prefix
// of the listener 36 characters of random upper-case hex.
func assignedID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails; it ends the process instead
	return fmt.Sprintf("%X-%X-%X-%X-%X", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// Settings translates a listener of the configuration.
func Settings(o *Options, l *config.Listener) *hub.Listener {
	s := &hub.Listener{
		Port: l.Port, AllowAnonymous: l.AllowAnonymous, MaxConnections: l.MaxConnections, MaxQoS: mqtt.ExactlyOnce,
		IdentityAsUser: l.UseIdentityAsUsername, SubjectAsUser: l.UseSubjectAsUsername,
		MountPoint:    l.MountPoint,
		MaxTopicAlias: uint16(l.MaxTopicAlias), MaxTopicAliasBroker: uint16(l.MaxTopicAliasBroker),
		Refuse31: !l.Versions.Has(3), Refuse311: !l.Versions.Has(4), Refuse5: !l.Versions.Has(5),
	}
	s.Level = listenerLevel(l)
	if o.MaxQoS != nil {
		s.MaxQoS = *o.MaxQoS
	}
	if l.MaxQoS != nil {
		s.MaxQoS = min(s.MaxQoS, *l.MaxQoS)
	}
	s.Secure(plainSecurity(o, l))
	return s
}

// reloadOptions puts the options in force that the hub, the sessions and the
// loops read. Connections that are open keep what they were told.
func (b *Broker) reloadOptions(now *config.Config) (apply func(), err error) {
	o := b.opts
	o.Config = now
	hc := HubConfig(&o)
	return func() {
		b.hub.Replace(hc)
		b.engine.SetLimit(now.GlobalMaxConnections)
		b.engine.SetRate(now.Guard.MaxConnectionRate)
		b.mu.Lock()
		bound := b.bound
		b.mu.Unlock()
		for _, l := range now.Listeners {
			n := Settings(&o, l)
			for _, at := range bound {
				at.SetNoDelay(now.SetTCPNodelay)
				if s := at.Spec(); s.Port == l.Port && s.Address == l.Address && s.Path == l.Path {
					at.Settings.Replace(n)
				}
			}
		}
		_ = b.onAll(context.Background(), func(sh *hub.Shard) { sh.Follow() }) // fails only when the broker ends
		b.sysChanged(now.SysInterval)
		b.watchMemory(now.MemoryLimit)
	}, nil
}
