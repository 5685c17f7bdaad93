package mosqdb

import (
	"fmt"
	"slices"

	"github.com/midgemq/midge/mqtt"
)

// Sift drops what cannot be, as the decoders of the file do, and adds to
// Problems what it dropped. It is for content that came from elsewhere.
func (db *DB) Sift() {
	db.Messages = slices.DeleteFunc(db.Messages, func(v Message) bool {
		err := checkMessage(&v)
		if err == nil {
			err = CheckProperties(v.Properties)
		}
		return db.odd(err, "message %d", v.ID)
	})
	db.Clients = slices.DeleteFunc(db.Clients, func(v Client) bool { return db.odd(checkClient(&v), "client") })
	db.ClientMessages = slices.DeleteFunc(db.ClientMessages, func(v ClientMessage) bool {
		return db.odd(checkClientMessage(&v), "client %q: message %d", v.ClientID, v.MessageID)
	})
	db.Subscriptions = slices.DeleteFunc(db.Subscriptions, func(v Subscription) bool {
		return db.odd(checkSubscription(&v), "client %q: subscription", v.ClientID)
	})
	db.Wills = slices.DeleteFunc(db.Wills, func(v Will) bool {
		err := mqtt.CheckTopicName(v.Topic)
		switch {
		case v.QoS > 2:
			err = fmt.Errorf("QoS %d", v.QoS)
		case err == nil:
			err = CheckProperties(v.Properties)
		}
		return db.odd(err, "client %q: will", v.ClientID)
	})
}

func (db *DB) odd(err error, format string, args ...any) bool {
	if err != nil {
		db.Problems = append(db.Problems, fmt.Sprintf(format, args...)+": "+err.Error())
	}
	return err != nil
}
