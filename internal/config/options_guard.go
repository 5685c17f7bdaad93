package config

// Guard holds midge's own limits on what the network can ask of it.
type Guard struct {
	ConnectTimeout    int // seconds from accept to CONNACK
	MaxConnectionRate int // new connections per second and address; 0 means no limit
}

// guardOptions are limits that Mosquitto has no option for.
var guardOptions = []Option{
	{
		Name: "connect_timeout", Section: "global", Own: true, Values: "seconds, 1 to 3600", Default: "30", Reload: NextConnection,
		Meaning: "How long a connection may take from its first byte to CONNACK, handshakes and login included. Then it is closed.",
		field: intField{
			at:    func(t target) *int { return &t.g.Guard.ConnectTimeout },
			check: between(1, 3600, "Error: Invalid 'connect_timeout' value (%d)."),
		},
	},
	{
		Name: "max_connection_rate", Section: "global", Own: true, Values: "number", Default: "0", Reload: AtOnce,
		Meaning: "New connections per second from one IPv4 address or IPv6 /64; 0 means no limit. Those above it are closed at once. Unix sockets and listeners that expect a PROXY header are not counted.",
		field: intField{
			at:    func(t target) *int { return &t.g.Guard.MaxConnectionRate },
			check: between(0, 1_000_000, "Error: Invalid 'max_connection_rate' value (%d)."),
		},
	},
}
