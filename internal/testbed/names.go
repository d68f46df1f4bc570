package testbed

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
)

// Names are host names that a test moves from one address to another. Whoever looks one up through net.DefaultResolver
// asks them, each time anew, once Install was called. Safe for concurrent use.
type Names struct {
	mu    sync.Mutex
	addrs map[string][]netip.Addr
	asked map[string]int
}

// InstallNames makes this process look names up in the Names that it returns. /etc/hosts still counts; other names
// don't exist. It must be called before anything looks a name up, from an init.
func InstallNames() *Names {
	n := &Names{addrs: make(map[string][]netip.Addr), asked: make(map[string]int)}
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: n.dial}
	return n
}

// Set makes name lead to IPv4 addresses.
func (n *Names) Set(name string, ips ...string) {
	addrs := make([]netip.Addr, len(ips))
	for i, ip := range ips {
		addrs[i] = netip.MustParseAddr(ip)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addrs[name] = addrs
}

// Asked is how often name was looked up.
func (n *Names) Asked(name string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked[name]
}

// dial is a connection to a name server that speaks DNS as over TCP: each message has its length in front (RFC 1035,
// 4.2.2).
func (n *Names) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	go func() {
		defer func() { _ = server.Close() }()
		for n.answerOne(server) == nil {
		}
	}()
	return client, nil
}

const dnsHeader = 12 // bytes

func (n *Names) answerOne(conn io.ReadWriter) error {
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return err
	}
	query := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, query); err != nil {
		return err
	}
	answer, err := n.answer(query)
	if err != nil {
		return err
	}
	_, err = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...))
	return err
}

// answer is a response with an A record, of no time to live, for each address of the name that is asked for.
func (n *Names) answer(query []byte) ([]byte, error) {
	var labels []string
	at := dnsHeader
	for at < len(query) && query[at] != 0 {
		end := at + 1 + int(query[at])
		if end >= len(query) {
			break
		}
		labels = append(labels, string(query[at+1:end]))
		at = end
	}
	end := at + 5 // The root, the type, the class.
	if end > len(query) {
		return nil, errors.New("query cut off")
	}
	isA := binary.BigEndian.Uint16(query[at+1:]) == 1
	name := strings.ToLower(strings.Join(labels, "."))
	n.mu.Lock()
	addrs, known := n.addrs[name]
	if isA {
		n.asked[name]++
	}
	n.mu.Unlock()
	flags := uint16(0x8580) // A response, authoritative.
	if !known {
		flags |= 3 // There is no such name.
	}
	if !isA {
		addrs = nil
	}
	out := append([]byte{}, query[:2]...)
	for _, v := range []uint16{flags, 1, uint16(len(addrs)), 0, 0} {
		out = binary.BigEndian.AppendUint16(out, v)
	}
	out = append(out, query[dnsHeader:end]...)
	for _, addr := range addrs {
		out = append(out, 0xc0, dnsHeader, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
		ip := addr.As4()
		out = append(out, ip[:]...)
	}
	return out, nil
}
