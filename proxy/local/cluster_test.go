package local

import (
	"net"
	"strings"
	"testing"
)

// The one node is where the client has connected to, and for one of a unix socket the first TCP listener.
func TestTheNodeOfTheEmulatedCluster(t *testing.T) {
	c := newTestClient()
	c.want(t, "-"+ErrNotCluster+"\r\n", "CLUSTER SLOTS")
	c.want(t, "-"+ErrNotCluster+"\r\n", "READONLY")
	c.cluster = true
	f := func(laddr, want string) {
		t.Helper()
		c.peer.LocalAddr = laddr
		c.want(t, want, "CLUSTER NODES")
	}
	f("/run/sluice.sock", "-ERR the cluster emulation has no address to give to a client of a unix socket: "+
		"the pool listens on no TCP port\r\n")
	c.addrs = []net.Addr{&net.UnixAddr{Name: "/run/sluice.sock"}, &net.TCPAddr{IP: net.IPv4zero, Port: 6379}}
	f("/run/sluice.sock", "$66\r\nab12 127.0.0.1:6379@16379 myself,master - 0 0 0 connected 0-16383\n\r\n")
	f("10.0.0.1:7000", "$65\r\nab12 10.0.0.1:7000@17000 myself,master - 0 0 0 connected 0-16383\n\r\n")
	c.want(t, "+OK\r\n", "ASKING")
	c.want(t, ":12182\r\n", "CLUSTER KEYSLOT foo")
	c.want(t, "$4\r\nab12\r\n", "CLUSTER MYSHARDID")
	c.want(t, "*0\r\n", "CLUSTER REPLICAS ab12")
	c.want(t, "-ERR Unknown node x\r\n", "CLUSTER SLAVES x")
	if got := c.do("CLUSTER INFO"); !strings.Contains(got, "cluster_state:fail\r\n") {
		t.Errorf("%q", got)
	}
	c.ready, c.resp3 = true, true
	if got := c.do("CLUSTER INFO"); !strings.HasPrefix(got, "=") || !strings.Contains(got, "cluster_state:ok\r\n") {
		t.Errorf("%q", got)
	}
}
