package conn

import (
	"net/netip"
	"strconv"
)

// Origin is where a connection comes from: an address and port, or, where there
// is none, the text that stands for them.
type Origin struct {
	netip.AddrPort
	// Text names a peer without an IP address, such as that of a Unix socket.
	Text string
}

// String is how the log names the peer: A:P, IPv6 without brackets.
func (o Origin) String() string {
	if o.Text != "" {
		return o.Text
	}
	a := "unknown"
	if o.IsValid() {
		a = o.Addr().Unmap().String()
	}
	return a + ":" + strconv.Itoa(int(o.Port()))
}

// origin is an Origin as a connection keeps it: its text is written when somebody
// asks for it, which a fleet that is merely connected never does. It takes 19
// bytes in place of a string and what that points to; what does not fit is text in
// ext.
type origin struct {
	ip   [16]byte
	port uint16
	form originForm
}

type originForm uint8

const (
	inText originForm = iota // in ext
	inIPv4
	inIPv6
)

// from keeps where the connection comes from.
func (c *Conn) from(o Origin) {
	a := o.Addr().Unmap()
	switch {
	case o.Text == "" && a.Is4():
		b := a.As4()
		copy(c.origin.ip[:], b[:])
		c.origin.form = inIPv4
	case o.Text == "" && a.Is6() && a.Zone() == "":
		c.origin.ip, c.origin.form = a.As16(), inIPv6
	default:
		c.extra().address = o.String()
		c.origin.form = inText
	}
	c.origin.port = o.Port()
}

// Address is the peer's address and port.
func (c *Conn) Address() string {
	o := &c.origin
	switch o.form {
	case inIPv4:
		return Origin{AddrPort: netip.AddrPortFrom(netip.AddrFrom4([4]byte(o.ip[:4])), o.port)}.String()
	case inIPv6:
		return Origin{AddrPort: netip.AddrPortFrom(netip.AddrFrom16(o.ip), o.port)}.String()
	default:
		return c.ext.address
	}
}
