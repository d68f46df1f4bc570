package conf

import (
	"encoding"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"
)

const (
	// defaultSocketMode lets a group that the application and the proxy share connect. With the
	// usual umask of 022 a socket would be writable, and so connectable, by its owner alone.
	defaultSocketMode fs.FileMode = 0o660
	// longestSocketPath is the size of sun_path on Linux less the closing zero byte.
	longestSocketPath = 107
	// longestHost is the limit of DNS.
	longestHost = 253
)

// Listen is an address to listen on.
type Listen struct {
	Network string      // "tcp" or "unix"
	Address string      // tcp: host:port, an empty host is every address, port 0 is any; unix: the absolute path
	Mode    fs.FileMode // unix: permission bits of the socket; tcp: 0
}

var (
	_ encoding.TextUnmarshaler = (*Listen)(nil)
	_ encoding.TextMarshaler   = Listen{}
)

// ParseListen reads "tcp://host:port" or "unix:///path?mode=0660".
func ParseListen(text string) (Listen, error) {
	scheme, rest, found := strings.Cut(text, "://")
	switch {
	case found && scheme == "tcp":
		if _, err := parseHostPort(rest, forListening); err != nil {
			return Listen{}, err
		}
		return Listen{Network: "tcp", Address: rest}, nil
	case found && scheme == "unix":
		return parseSocket(rest)
	case found && (scheme == "tls" || scheme == "rediss"):
		return Listen{}, &badValue{"TLS is not in this version", "write tcp:// and keep it on loopback, or use a unix socket"}
	case !found && strings.HasPrefix(text, "/"):
		return Listen{}, &badValue{quote(text) + " does not say what it is", "write " + strconv.Quote("unix://"+text)}
	case !found:
		if _, err := parseHostPort(text, forListening); err == nil {
			return Listen{}, &badValue{quote(text) + " does not say what it is", "write " + quote("tcp://"+text)}
		}
	}
	return Listen{}, &badValue{
		quote(text) + " is not an address to listen on",
		`write "tcp://127.0.0.1:6380", "tcp://[::1]:6380" or "unix:///run/sluice.sock?mode=0660"`,
	}
}

func parseSocket(text string) (Listen, error) {
	const hint = "the one parameter is ?mode=0660"
	name, query, _ := strings.Cut(text, "?")
	if !path.IsAbs(name) || strings.HasSuffix(name, "/") || path.Clean(name) == "/" || strings.ContainsRune(name, 0) {
		return Listen{}, &badValue{
			quote("unix://"+name) + " has no absolute path of a socket",
			`three slashes: "unix:///run/sluice.sock"`,
		}
	}
	name = path.Clean(name)
	if len(name) > longestSocketPath {
		return Listen{}, &badValue{
			fmt.Sprintf("the socket path has %d bytes, the system takes %d", len(name), longestSocketPath),
			"use a shorter directory, such as /run",
		}
	}
	l := Listen{Network: "unix", Address: name, Mode: defaultSocketMode}
	params, err := url.ParseQuery(query)
	if err != nil {
		return Listen{}, &badValue{quote("?"+query) + " is not a list of parameters", hint}
	}
	for key, values := range params {
		if key != "mode" || len(values) != 1 {
			return Listen{}, &badValue{quote(key) + " is not a parameter of a socket, or stands there twice", hint}
		}
		mode, err := strconv.ParseUint(values[0], 8, 32)
		if err != nil || mode == 0 || mode > 0o777 {
			return Listen{}, &badValue{
				quote(values[0]) + " is not a mode of a socket",
				"write the permission bits in octal, such as ?mode=0660",
			}
		}
		l.Mode = fs.FileMode(mode)
	}
	return l, nil
}

// String returns the text that ParseListen reads.
func (l Listen) String() string {
	if l.Network == "unix" {
		return fmt.Sprintf("unix://%s?mode=%04o", l.Address, l.Mode)
	}
	return l.Network + "://" + l.Address
}

// MarshalText returns String.
func (l Listen) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText is ParseListen.
func (l *Listen) UnmarshalText(text []byte) error {
	v, err := ParseListen(string(text))
	if err == nil {
		*l = v
	}
	return err
}

// purpose is what an address is for, which decides whether host and port may be left open.
type purpose int

const (
	forListening  purpose = iota // empty and wildcard hosts and port 0 are fine
	forConnecting                // a definite host and port
)

// hostPort is a checked address in a form that compares: equal addresses, written differently, are
// equal values. Names are not resolved.
type hostPort struct {
	host string // an IP in its canonical form, a name in lower case, or empty
	port uint16
}

// String returns host:port with brackets where they are needed.
func (a hostPort) String() string {
	return net.JoinHostPort(a.host, strconv.Itoa(int(a.port)))
}

// anyHost reports whether the address listens on all addresses of the host. An IPv6 wildcard
// takes IPv4 too, as dual-stack sockets do.
func (a hostPort) anyHost() bool {
	return a.host == "" || a.host == "::" || a.host == "0.0.0.0"
}

// overlaps reports whether two listeners at a and b can't both be opened.
func (a hostPort) overlaps(b hostPort) bool {
	if a.port != b.port || a.port == 0 {
		return false
	}
	isV6 := func(h string) bool { return strings.Contains(h, ":") }
	switch {
	case a.host == b.host:
		return true
	case a.host == "0.0.0.0":
		return !isV6(b.host) || b.anyHost()
	case b.host == "0.0.0.0":
		return !isV6(a.host) || a.anyHost()
	}
	return a.anyHost() || b.anyHost()
}

// reaches reports whether connecting to b ends at a listener at a, as far as the texts tell.
func (a hostPort) reaches(b hostPort) bool {
	if a.port != b.port || a.port == 0 {
		return false
	}
	switch {
	case a.host == b.host:
		return true
	case !isLoopback(b.host):
		return false
	case a.host == "0.0.0.0":
		return !strings.Contains(b.host, ":")
	case a.anyHost():
		return true
	}
	// The name may mean any loopback address; two addresses mean themselves.
	return isLoopback(a.host) && (a.host == "localhost" || b.host == "localhost")
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// parseHostPort checks "host:port".
func parseHostPort(text string, p purpose) (hostPort, error) {
	const hint = `write host:port, such as "10.0.0.5:6379" or "[fd00::5]:6379"`
	if text == "" {
		return hostPort{}, &badValue{"an address is empty", hint}
	}
	if scheme, rest, found := strings.Cut(text, "://"); found {
		advice := hint
		if _, err := parseHostPort(afterAt(rest), p); err == nil {
			advice = "leave out " + quote(scheme+"://") + "; write " + quote(afterAt(rest))
		}
		return hostPort{}, &badValue{quote(text) + " is not host:port", advice}
	}
	if strings.Contains(text, "@") {
		return hostPort{}, &badValue{
			quote(text) + " is not host:port",
			"credentials towards backends belong in [pool.auth]",
		}
	}
	host, portText, err := net.SplitHostPort(text)
	if err != nil {
		msg := " is not host:port"
		switch {
		case strings.Count(text, ":") > 1 && !strings.HasPrefix(text, "["):
			return hostPort{}, &badValue{quote(text) + msg, `IPv6 addresses stand in brackets: "[fd00::5]:6379"`}
		case !strings.Contains(text, ":"):
			msg = " has no port"
		}
		return hostPort{}, &badValue{quote(text) + msg, hint}
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil || strings.HasPrefix(portText, "+") {
		return hostPort{}, &badValue{
			"port " + quote(portText) + " of " + quote(text) + " is not a number from 0 to 65535",
			hint,
		}
	}
	if host == "*" && p == forListening {
		return hostPort{}, &badValue{
			quote(text) + " has no host",
			"leave the * out to mean every address: " + quote(":"+portText),
		}
	}
	a := hostPort{port: uint16(port)}
	if a.host, err = parseHost(host, strings.HasPrefix(text, "[")); err != nil {
		return hostPort{}, err
	}
	if p == forConnecting && port == 0 {
		return hostPort{}, &badValue{quote(text) + " has port 0, which no server listens on", hint}
	}
	if p == forConnecting && a.anyHost() {
		return hostPort{}, &badValue{
			quote(text) + " names no host to connect to",
			"write the address or the name of the host",
		}
	}
	return a, nil
}

// parseHost checks a host and returns the form in which it compares.
func parseHost(host string, bracketed bool) (string, error) {
	if host == "" {
		return "", nil
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap().String(), nil
	}
	if bracketed {
		return "", &badValue{quote(host) + " in brackets is not an IPv6 address", "brackets are for IPv6 alone"}
	}
	if len(host) > longestHost || !isBare(strings.ReplaceAll(host, ".", "")) ||
		strings.Contains(host, "..") || strings.HasPrefix(host, ".") || strings.HasPrefix(host, "-") {
		return "", &badValue{
			quote(host) + " is not a host name",
			"write an IP address or a name of letters, digits, dots and hyphens",
		}
	}
	if strings.Trim(host, "0123456789.") == "" {
		return "", &badValue{quote(host) + " is not an IPv4 address", "four numbers from 0 to 255 with dots"}
	}
	return strings.TrimSuffix(strings.ToLower(host), "."), nil
}

// afterAt returns the host part of a URL without credentials and path.
func afterAt(s string) string {
	s = s[strings.LastIndexByte(s, '@')+1:]
	s, _, _ = strings.Cut(s, "/")
	return s
}
