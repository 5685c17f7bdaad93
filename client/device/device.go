package device

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/midgemq/midge/client"
	"github.com/midgemq/midge/mqtt"
)

// The payloads of the status topic unless Options say otherwise.
const (
	Online  = "online"
	Offline = "offline"
)

// Options say how a Device behaves.
type Options struct {
	// Client is how to connect. Servers and ClientID are required. The identifier must be a topic name: not empty, no "+" and
	// no "#", no leading "$", no slash at either end. Will must be nil, as the device sets it, and SubscriptionIDs is switched
	// on, so that a message which matches several filters reaches each of them once where the server can tell which filter
	// caused a copy; servers of 3.x may deliver it once for each filter to each.
	//
	// With Resume, what the server kept while the program was away comes before Subscribe can be called; DefaultHandler gets it.
	Client client.Options
	// Online and Offline are the payloads of the status, as they are and not as JSON. Empty: the constants of these names.
	Online, Offline string
	// RetainStatus has the server keep the status, so that somebody who subscribes later learns it at once.
	RetainStatus bool
	// How is how Publish sends values.
	How How
}

// How says how a value is sent.
type How struct {
	QoS    mqtt.QoS
	Retain bool
	// Expand publishes the elements of an array or slice one by one as well, each below the topic of the whole under its index
	// from 0. Elements that are arrays themselves are not taken apart further. Other values have no elements: they are
	// published as without Expand. With Retain, a shorter array than the last one this Device published there removes the
	// retained messages of the elements that are gone: their topics get a message with an empty payload.
	Expand bool
}

// Device is one program on a broker. All its methods may be called from any goroutine.
type Device struct {
	// Immutable.
	opts   Options
	c      *client.Client
	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	// leaving ends when Close begins; statusMu is held while "online" is handed to the client, so that it cannot come behind the
	// "offline" of Close.
	leaving  context.Context
	leave    context.CancelFunc
	statusMu sync.Mutex

	mu sync.Mutex
	// Guarded by mu; nothing blocks and no code of the caller runs under it.
	online    bool
	info      client.ConnectInfo
	receivers map[Receiver]*attached
	expanded  map[string]int // elements last published as retained, by name
}

// New makes a device that does not connect yet: Start or Connect does, and receivers attached before miss nothing.
func New(o Options) (*Device, error) {
	id := o.Client.ClientID
	if err := checkID(id); err != nil {
		return nil, fmt.Errorf("client identifier %q: %w", id, err)
	}
	if o.Client.Will != nil {
		return nil, errors.New("option Client.Will: the will carries the status; use Offline and RetainStatus")
	}
	if !o.How.QoS.Valid() {
		return nil, fmt.Errorf("option How: QoS %d is not 0, 1 or 2", o.How.QoS)
	}
	if o.Online == "" {
		o.Online = Online
	}
	if o.Offline == "" {
		o.Offline = Offline
	}
	d := &Device{opts: o, receivers: map[Receiver]*attached{}, expanded: map[string]int{}}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	d.leaving, d.leave = context.WithCancel(d.ctx)
	co := o.Client
	co.SubscriptionIDs = true
	co.Will = &client.Will{Topic: id, Payload: []byte(o.Offline), QoS: mqtt.AtLeastOnce, Retain: o.RetainStatus}
	co.OnConnect, co.OnDisconnect = d.connected, d.disconnected
	var err error
	if d.c, err = client.New(co); err != nil {
		d.cancel()
		return nil, err
	}
	return d, nil
}

// Connect makes a device and waits for its first connection, as client.Connect does: unreachable servers are tried again
// until the context ends. On error the device is closed.
func Connect(ctx context.Context, o Options) (*Device, error) {
	d, err := New(o)
	if err != nil {
		return nil, err
	}
	if err := d.Connect(ctx); err != nil {
		return nil, err
	}
	return d, nil
}

func checkID(id string) error {
	switch err := mqtt.CheckTopicName(id); {
	case id == "":
		return errors.New("is empty: it is the prefix of all topics")
	case err != nil:
		return err
	case id[0] == '$':
		return errors.New(`begins with "$": such topics are the server's, and wildcards do not match them`)
	case strings.HasPrefix(id, "/") || strings.HasSuffix(id, "/"):
		return errors.New("has a slash at an end: the device adds those between levels")
	}
	return nil
}

// Start begins to connect, in the background and for as long as it takes.
func (d *Device) Start() { d.c.Start() }

// Connect starts the device and waits for a connection. On error the device is closed.
func (d *Device) Connect(ctx context.Context) error {
	err := d.c.Connect(ctx)
	if err != nil {
		d.cancel()
	}
	return err
}

// Close publishes the status "offline", waits for its acknowledgement and ends the connection and the device. It does not
// wait for receivers. Without a connection there is nothing to publish: the server has published the will.
//
// When the context ends first, the error says so; a server of 5.0 then publishes the will all the same, one of 3.x does not
// and may keep "online".
func (d *Device) Close(ctx context.Context) error {
	defer d.cancel()
	d.leave()
	info, ok := d.c.Connected()
	if !ok {
		return d.c.Close()
	}
	err := d.sayOffline(ctx)
	if err == nil {
		return d.c.Close()
	}
	if errors.Is(err, client.ErrClosed) {
		return nil // a second Close
	}
	err = fmt.Errorf("status: %w", err)
	if info.Version == mqtt.V5 {
		return errors.Join(err, d.c.CloseWith(mqtt.DisconnectWithWill, nil))
	}
	return errors.Join(err, d.c.Close())
}

// Client is the connection below, for all that has nothing to do with the prefix.
func (d *Device) Client() *client.Client { return d.c }

// ID is the client identifier: the prefix of the topics, and the topic of the status.
func (d *Device) ID() string { return d.opts.Client.ClientID }

// Topic puts the prefix before a name.
func (d *Device) Topic(name string) string { return d.ID() + "/" + name }

func (d *Device) status(payload string) mqtt.Message {
	return mqtt.Message{Topic: d.ID(), Payload: []byte(payload), QoS: mqtt.AtLeastOnce, Retain: d.opts.RetainStatus}
}

// connected runs on the client's goroutine for events, in their order.
func (d *Device) connected(info client.ConnectInfo) {
	d.mu.Lock()
	d.online, d.info = true, info
	for _, a := range d.receivers {
		a.add(func() { a.r.Connected(info) })
	}
	d.mu.Unlock()
	if err := d.sayOnline(); err != nil && d.opts.Client.OnError != nil {
		d.opts.Client.OnError(fmt.Errorf("status: %w", err))
	}
	if f := d.opts.Client.OnConnect; f != nil {
		f(info)
	}
}

// sayOnline does not wait for the outcome: a connection lost before the acknowledgement has its will published, and the next
// one publishes the status anew.
func (d *Device) sayOnline() error {
	d.statusMu.Lock()
	defer d.statusMu.Unlock()
	if d.leaving.Err() != nil {
		return nil
	}
	_, err := d.c.PublishAsync(d.leaving, d.status(d.opts.Online))
	if d.leaving.Err() != nil {
		return nil
	}
	return err
}

func (d *Device) sayOffline(ctx context.Context) error {
	d.statusMu.Lock()
	defer d.statusMu.Unlock()
	return d.c.Publish(ctx, d.status(d.opts.Offline))
}

// disconnected runs on the same goroutine as connected.
func (d *Device) disconnected(err error) {
	d.mu.Lock()
	d.online = false
	for _, a := range d.receivers {
		a.add(func() { a.r.Disconnected(err) })
	}
	d.mu.Unlock()
	if f := d.opts.Client.OnDisconnect; f != nil {
		f(err)
	}
}
