package client_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/midgemq/midge/client"
	"github.com/midgemq/midge/client/scram"
	"github.com/midgemq/midge/mqtt"
	"github.com/midgemq/midge/mqtt/packet"
)

func TestBackoff(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newPeers(t)
		c, err := client.New(s.options(mqtt.V5))
		if err != nil {
			t.Fatal(err)
		}
		c.Start()
		defer c.Close()
		last := time.Now()
		for i, most := range []time.Duration{0, 1, 2, 4, 8, 8} {
			p := s.next(mqtt.V5)
			most *= time.Second
			if d := time.Since(last); d > most || d < most/2 {
				t.Errorf("attempt %d after %v, want between %v and %v", i, d, most/2, most)
			}
			last = time.Now()
			p.nc.Close()
		}
	})
}

// covers: E198 5:4.13.2-1
func TestRefusalsWaitLonger(t *testing.T) {
	for _, code := range []mqtt.ReasonCode{mqtt.NotAuthorized, mqtt.Banned, mqtt.BadUserNameOrPassword} {
		bubble(t, func(t *testing.T) {
			s := newPeers(t)
			c, err := client.New(s.options(mqtt.V5))
			if err != nil {
				t.Fatal(err)
			}
			c.Start()
			defer c.Close()
			p := s.next(mqtt.V5)
			expect[*packet.Connect](p)
			p.connack(false, byte(code), nil)
			p.closed()
			start := time.Now()
			s.next(mqtt.V5).nc.Close()
			if d := time.Since(start); d < 4*time.Second {
				t.Errorf("%v: tried again after %v", code, d)
			}
		})
	}
	bubble(t, func(t *testing.T) { // taken over
		s := newPeers(t)
		_, p := connected(t, s, s.options(mqtt.V5), mqtt.V5, nil)
		p.send(&packet.Disconnect{Code: mqtt.SessionTakenOver})
		if code := p.closed(); code != -1 {
			t.Errorf("answered the DISCONNECT with %#x", code)
		}
		start := time.Now()
		s.next(mqtt.V5).nc.Close()
		if d := time.Since(start); d < 4*time.Second {
			t.Errorf("tried again after %v", d)
		}
	})
	bubble(t, func(t *testing.T) {
		s := newPeers(t)
		o := s.options(mqtt.V5)
		o.StopOnTakeover = true
		c, p := connected(t, s, o, mqtt.V5, nil)
		p.send(&packet.Disconnect{Code: mqtt.SessionTakenOver})
		<-c.Done()
		if code, _ := client.ReasonOf(c.Err()); code != mqtt.SessionTakenOver {
			t.Errorf("ended with %v", c.Err())
		}
	})
}

func TestConnectReturnsRefusal(t *testing.T) {
	eachVersion(t, func(t *testing.T, v mqtt.Version) {
		s := newPeers(t)
		done := make(chan error)
		go func() {
			_, err := client.Connect(t.Context(), s.options(v))
			done <- err
		}()
		p := s.next(v)
		expect[*packet.Connect](p)
		code := byte(mqtt.BadUserNameOrPassword)
		if v != mqtt.V5 {
			code = 4
		}
		p.connack(false, code, nil)
		p.closed()
		err := <-done
		if got, ok := client.ReasonOf(err); !ok || got != mqtt.BadUserNameOrPassword || client.SafeToRetry(err) {
			t.Errorf("%v", err)
		}
	})
}

func TestVersionFallback(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newPeers(t)
		c, err := client.New(s.options(0))
		if err != nil {
			t.Fatal(err)
		}
		c.Start()
		defer c.Close()
		for _, v := range []mqtt.Version{mqtt.V5, mqtt.V311} {
			p := s.next(v)
			if k := expect[*packet.Connect](p); k.Version != v {
				t.Fatalf("asked with %v, want %v", k.Version, v)
			}
			p.hex("20 02 00 01")
			p.closed()
		}
		p, k := s.accept(mqtt.V31, false, nil)
		defer p.nc.Close()
		if k.Version != mqtt.V31 {
			t.Errorf("asked with %v", k.Version)
		}
	})
}

func TestServersInOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newPeers(t)
		o := s.options(mqtt.V5)
		o.Servers = []string{"one", "two:1884", "mqtt://three"}
		o.FailBack = 30 * time.Second
		c, err := client.New(o)
		if err != nil {
			t.Fatal(err)
		}
		c.Start()
		defer c.Close()
		start := time.Now()
		s.next(mqtt.V5).nc.Close()
		p, _ := s.accept(mqtt.V5, false, nil)
		if d := time.Since(start); d != 0 {
			t.Errorf("the second server was tried after %v", d)
		}
		if a, b := <-s.addrs, <-s.addrs; a != "one:1883" || b != "two:1884" {
			t.Errorf("dialled %s and %s", a, b)
		}
		// The first is back after a while: the client moves there.
		probe := s.next(mqtt.V5)
		if d := time.Since(start); d != 30*time.Second {
			t.Errorf("probed after %v", d)
		}
		if code := p.closed(); code != 0 {
			t.Errorf("left with DISCONNECT %d", code)
		}
		probe.closed()
		p, _ = s.accept(mqtt.V5, false, nil)
		defer p.nc.Close()
		<-s.addrs
		if a := <-s.addrs; a != "one:1883" {
			t.Errorf("moved to %s", a)
		}
	})
}

func TestWeights(t *testing.T) {
	first := map[string]int{}
	for range 300 {
		bubble(t, func(t *testing.T) {
			s := newPeers(t)
			o := s.options(mqtt.V5)
			o.Servers, o.Weights = []string{"one", "two"}, []int{1, 3}
			c, err := client.New(o)
			if err != nil {
				t.Fatal(err)
			}
			c.Start()
			s.next(mqtt.V5).nc.Close()
			first[<-s.addrs]++
			c.Close()
		})
	}
	if n := first["two:1883"]; n < 180 || n > 270 {
		t.Errorf("the server of weight 3 came first %d times in 300, want about 225", n)
	}
}

// covers: 5:U5-3.2.2.3.16-1 5:U5-4.11-2
func TestRedirection(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newPeers(t)
		c, err := client.New(s.options(mqtt.V5))
		if err != nil {
			t.Fatal(err)
		}
		c.Start()
		defer c.Close()
		p := s.next(mqtt.V5)
		expect[*packet.Connect](p)
		p.connack(false, byte(mqtt.UseAnotherServer), &mqtt.Properties{ServerReference: "other:1999 third"})
		p.closed()
		p, _ = s.accept(mqtt.V5, false, nil)
		props := packet.AppendProperties(nil, packet.DISCONNECT, &mqtt.Properties{ServerReference: "moved"})
		p.send(&packet.Disconnect{Code: mqtt.ServerMoved, Props: props})
		p.closed()
		p, _ = s.accept(mqtt.V5, false, nil)
		p.nc.Close()
		p, _ = s.accept(mqtt.V5, false, nil)
		defer p.nc.Close()
		for _, want := range []string{"peer:1883", "other:1999", "moved:1883", "moved:1883"} {
			if a := <-s.addrs; a != want {
				t.Errorf("dialled %s, want %s", a, want)
			}
		}
	})
	bubble(t, func(t *testing.T) { // a ring does not turn for ever
		s := newPeers(t)
		c, err := client.New(s.options(mqtt.V5))
		if err != nil {
			t.Fatal(err)
		}
		c.Start()
		defer c.Close()
		start := time.Now()
		for range 7 {
			p := s.next(mqtt.V5)
			expect[*packet.Connect](p)
			p.connack(false, byte(mqtt.UseAnotherServer), &mqtt.Properties{ServerReference: "peer"})
			p.closed()
		}
		if time.Since(start) == 0 {
			t.Error("seven redirections without a pause")
		}
	})
}

// covers: 5:U5-3.2.2.3.7-1 3:3.1.3-7
func TestAssignedClientID(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newPeers(t)
		o := lasting(s, mqtt.V5)
		o.ClientID = ""
		_, p := connected(t, s, o, mqtt.V5, &mqtt.Properties{AssignedClientID: "z"})
		p.nc.Close()
		p, k := s.accept(mqtt.V5, true, nil)
		defer p.nc.Close()
		if string(k.ClientID) != "z" || k.CleanStart {
			t.Errorf("came back as %q, clean start %v", k.ClientID, k.CleanStart)
		}
	})
	bubble(t, func(t *testing.T) {
		s := newPeers(t)
		o := s.options(mqtt.V311)
		o.ClientID = ""
		c, err := client.New(o)
		if err != nil {
			t.Fatal(err)
		}
		c.Start()
		defer c.Close()
		p, k := s.accept(mqtt.V311, false, nil)
		defer p.nc.Close()
		if !k.CleanStart {
			t.Error("an identifier of the moment with a session that lasts")
		}
		if len(k.ClientID) != 23 || strings.ContainsFunc(string(k.ClientID), func(r rune) bool { return r > 'z' || r < '0' }) {
			t.Errorf("made the identifier %q", k.ClientID)
		}
	})
}

// serverScram plays the server's side with the example of RFC 7677, whose nonce is not ours: it only checks form, and a wrong proof.
type challenger struct{ p *peer }

func (c challenger) auth(code mqtt.ReasonCode, data string) {
	props := packet.AppendString(nil, packet.PropAuthMethod, "SCRAM-SHA-256")
	c.p.send(&packet.Auth{Code: code, Props: packet.AppendBytes(props, packet.PropAuthData, []byte(data))})
}

// covers: 5:4.12.0-3 5:4.12.0-5 5:3.1.2-30
func TestEnhancedAuthentication(t *testing.T) {
	start := func(t *testing.T) (*client.Client, *peers, *peer, string) {
		s := newPeers(t)
		o := s.options(mqtt.V5)
		o.Auth = scram.SHA256("user", "pencil")
		c, err := client.New(o)
		if err != nil {
			t.Fatal(err)
		}
		c.Start()
		p := s.next(mqtt.V5)
		k := expect[*packet.Connect](p)
		method, _ := k.Props.Bytes(packet.PropAuthMethod)
		data, _ := k.Props.Bytes(packet.PropAuthData)
		nonce, ok := strings.CutPrefix(string(data), "n,,n=user,r=")
		if string(method) != "SCRAM-SHA-256" || !ok {
			t.Fatalf("method %q, data %q", method, data)
		}
		return c, s, p, nonce
	}
	bubble(t, func(t *testing.T) { // the server does not know the password
		c, _, p, nonce := start(t)
		defer c.Close()
		go c.Publish(t.Context(), mqtt.Message{Topic: "t", QoS: 1}) // nothing but AUTH before CONNACK
		challenger{p}.auth(mqtt.ContinueAuthentication, "r="+nonce+"more,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")
		a := expect[*packet.Auth](p)
		data, _ := a.Props.Bytes(packet.PropAuthData)
		if a.Code != mqtt.ContinueAuthentication || !strings.HasPrefix(string(data), "c=biws,r="+nonce+"more,p=") {
			t.Errorf("AUTH %v %q", a.Code, data)
		}
		p.connack(false, 0, &mqtt.Properties{AuthMethod: "SCRAM-SHA-256", AuthData: []byte("v=AAAA")})
		if code := p.closed(); code != int(mqtt.UnspecifiedError) {
			t.Errorf("DISCONNECT %#x", code)
		}
	})
	for name, f := range map[string]func(p *peer, nonce string){
		"another method": func(p *peer, _ string) {
			p.send(&packet.Auth{Code: mqtt.ContinueAuthentication, Props: packet.AppendString(nil, packet.PropAuthMethod, "OTHER")})
		},
		"nonce of the server's own": func(p *peer, _ string) {
			challenger{p}.auth(mqtt.ContinueAuthentication, "r=other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")
		},
		"endless iterations": func(p *peer, nonce string) {
			challenger{p}.auth(mqtt.ContinueAuthentication, "r="+nonce+"x,s=AAAA,i=2000000000")
		},
		"CONNACK without method": func(p *peer, _ string) { p.connack(false, 0, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c, _, p, nonce := start(t)
				f(p, nonce)
				if code := p.closed(); code != int(mqtt.ProtocolError) && code != int(mqtt.UnspecifiedError) {
					t.Errorf("DISCONNECT %#x", code)
				}
				c.Close()
			})
		})
	}
}

// twoStep is an authentication that answers "ok" to everything.
type twoStep struct{}

func (twoStep) Name() string                              { return "TWO" }
func (twoStep) Begin(context.Context) client.AuthExchange { return twoStep{} }
func (twoStep) Start() ([]byte, error)                    { return []byte("hello"), nil }
func (twoStep) Respond([]byte) ([]byte, error)            { return []byte("ok"), nil }
func (twoStep) Finish(data []byte) error {
	if string(data) == "bad" {
		return errors.New("not the server")
	}
	return nil
}

// covers: 5:4.12.1-1 5:4.12.1-2 5:4.12.0-7
func TestReauthentication(t *testing.T) {
	auth := func(code mqtt.ReasonCode) *packet.Auth {
		return &packet.Auth{Code: code, Props: packet.AppendString(nil, packet.PropAuthMethod, "TWO")}
	}
	begin := func(t *testing.T) (*client.Client, *peer, chan error) {
		s := newPeers(t)
		o := s.options(mqtt.V5)
		o.Auth = twoStep{}
		c, p := connected(t, s, o, mqtt.V5, &mqtt.Properties{AuthMethod: "TWO"})
		done := make(chan error, 1)
		go func() { done <- c.Reauthenticate(t.Context()) }()
		if a := expect[*packet.Auth](p); a.Code != mqtt.Reauthenticate {
			t.Errorf("AUTH %v", a.Code)
		}
		return c, p, done
	}
	bubble(t, func(t *testing.T) {
		_, p, done := begin(t)
		p.send(auth(mqtt.ContinueAuthentication))
		if a := expect[*packet.Auth](p); a.Code != mqtt.ContinueAuthentication {
			t.Errorf("AUTH %v", a.Code)
		}
		p.send(auth(mqtt.Success))
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	bubble(t, func(t *testing.T) {
		_, p, done := begin(t)
		p.send(&packet.Disconnect{Code: mqtt.NotAuthorized})
		if code, _ := client.ReasonOf(<-done); code != mqtt.NotAuthorized {
			t.Errorf("reason %v", code)
		}
		p.closed()
	})
	bubble(t, func(t *testing.T) {
		s := newPeers(t)
		c, p := connected(t, s, s.options(mqtt.V5), mqtt.V5, nil)
		if err := c.Reauthenticate(t.Context()); !client.SafeToRetry(err) {
			t.Errorf("without a method: %v", err)
		}
		p.quiet()
	})
}

func TestOptionsRefused(t *testing.T) {
	for name, o := range map[string]client.Options{
		"no server":       {},
		"bad scheme":      {Servers: []string{"http://x"}},
		"password in URL": {Servers: []string{"mqtt://u:p@x"}},
		"path":            {Servers: []string{"mqtt://x/y"}},
		"PSK":             {Servers: []string{"x"}, PSKIdentity: "id"},
		"version":         {Servers: []string{"x"}, Version: 6},
		"weights":         {Servers: []string{"x"}, Weights: []int{1, 2}},
		"weight 0":        {Servers: []string{"x"}, Weights: []int{0}},
		"client id":       {Servers: []string{"x"}, ClientID: "a\x00"},
		"resume":          {Servers: []string{"x"}, Resume: true},
		"will topic":      {Servers: []string{"x"}, Will: &client.Will{Topic: "a/#"}},
		"will QoS":        {Servers: []string{"x"}, Will: &client.Will{Topic: "a", QoS: 3}},
		"keep alive":      {Servers: []string{"x"}, KeepAlive: 20 * time.Hour},
		"auth in 3.1.1":   {Servers: []string{"x"}, Version: mqtt.V311, Auth: twoStep{}},
		"negative limit":  {Servers: []string{"x"}, MaxQueued: -1},
		"property":        {Servers: []string{"x"}, Properties: &mqtt.Properties{ServerReference: "y"}},
	} {
		if _, err := client.New(o); err == nil {
			t.Errorf("%s: accepted", name)
		} else if strings.Contains(err.Error(), ":p@") {
			t.Errorf("%s: the error has the password: %v", name, err)
		}
	}
	if _, err := client.New(client.Options{Servers: []string{"x"}, PSKIdentity: "id"}); !errors.Is(err, client.ErrNoPSK) {
		t.Errorf("PSK: %v", err)
	}
}

// covers: 5:3.3.4-6 3:4.7.1-1 3:4.7.3-3
func TestMessagesRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newPeers(t)
		c, p := connected(t, s, s.options(mqtt.V5), mqtt.V5, nil)
		for name, m := range map[string]mqtt.Message{
			"empty topic":             {},
			"wildcard":                {Topic: "a/+"},
			"NUL":                     {Topic: "a\x00"},
			"long topic":              {Topic: strings.Repeat("a", 65536)},
			"QoS 3":                   {Topic: "a", QoS: 3},
			"subscription identifier": {Topic: "a", Properties: &mqtt.Properties{SubscriptionIDs: []uint32{1}}},
			"alias":                   {Topic: "a", Properties: &mqtt.Properties{TopicAlias: 1}},
			"response topic":          {Topic: "a", Properties: &mqtt.Properties{ResponseTopic: "a/#"}},
		} {
			if err := c.Publish(t.Context(), m); !client.SafeToRetry(err) {
				t.Errorf("%s: %v", name, err)
			}
		}
		h := func(*client.Message) {}
		for _, sub := range []client.Subscription{
			{Handler: h},
			{Filter: "a#", Handler: h},
			{Filter: "a+", Handler: h},
			{Filter: "a", QoS: 3, Handler: h},
			{Filter: "a"},
			{Filter: "$share/g", Handler: h},
			{Filter: "$share/g/a", NoLocal: true, Handler: h},
			{Filter: "a", RetainHandling: 3, Handler: h},
			{Filter: strings.Repeat("a", 65536), Handler: h},
			{Filter: "\xff", Handler: h},
			{Filter: "a", ID: 268435456, Handler: h},
		} {
			if err := c.Subscribe(t.Context(), sub); !client.SafeToRetry(err) {
				t.Errorf("%+.50q: %v", sub.Filter, err)
			}
		}
		if err := c.Subscribe(t.Context()); !client.SafeToRetry(err) {
			t.Errorf("no filter: %v", err)
		}
		if err := c.Unsubscribe(t.Context()); !client.SafeToRetry(err) {
			t.Errorf("no filter: %v", err)
		}
		p.quiet()
	})
}

// covers: 5:3.2.2-14 5:U5-3.2.2.3.2-1
func TestServerShortensSession(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newPeers(t)
		no := false
		c, p := connected(t, s, lasting(s, mqtt.V5), mqtt.V5, &mqtt.Properties{SessionExpiry: new(uint32), RetainAvailable: &no})
		if err := c.Publish(t.Context(), mqtt.Message{Topic: "t", Retain: true, QoS: 1}); !errors.Is(err, client.ErrNotSupported) {
			t.Errorf("retained: %v", err)
		}
		p.nc.Close()
		// The session ended with the connection, whatever was asked for: there is none to resume.
		p, k := s.accept(mqtt.V5, false, nil)
		defer p.nc.Close()
		if !k.CleanStart {
			t.Error("asked for a session that the server does not keep")
		}
	})
}
