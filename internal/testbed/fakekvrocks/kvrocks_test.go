package fakekvrocks

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/internal/testbed"
	"sluice/internal/testbed/fake"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type client struct {
	conn net.Conn
	rd   *bufio.Reader
}

func connect(t *testing.T, s *Server) *client {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &client{conn, bufio.NewReader(conn)}
}

// ask returns the first line of the reply, or a bulk string.
func (c *client) ask(t *testing.T, args ...string) string {
	t.Helper()
	c.conn.SetDeadline(time.Now().Add(2 * time.Minute))
	if _, err := io.WriteString(c.conn, fake.Bulks(args...)); err != nil {
		t.Fatal(err)
	}
	line, err := c.rd.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	line = strings.TrimSpace(line)
	if n, err := strconv.Atoi(line[1:]); line[0] == '$' && err == nil && n >= 0 {
		body := make([]byte, n+2)
		io.ReadFull(c.rd, body)
		return string(body[:n])
	}
	return line
}

func (c *client) expect(t *testing.T, want string, args ...string) {
	t.Helper()
	if got := c.ask(t, args...); got != want {
		t.Errorf("%v: %q, want %q", args, got, want)
	}
}

func (c *client) becomes(t *testing.T, want string, args ...string) {
	t.Helper()
	testbed.Eventually(t, func() error {
		if got := c.ask(t, args...); !strings.Contains(got, want) {
			return fmt.Errorf("%v: %q, want %q", args, got, want)
		}
		return nil
	}, 20*time.Second)
}

// "bar" has slot 5061, "hello" 866, "foo" 12182.
func TestWritesAreRefusedInTheLastPhase(t *testing.T) {
	nodes := StartCluster(t, 2, Options{})
	a, b := connect(t, nodes[0]), connect(t, nodes[1])
	a.expect(t, "+OK", "SET", "bar", "1")
	a.expect(t, "-MOVED 12182 "+nodes[1].Addr(), "GET", "foo")
	hold := nodes[0].Faults.Hold(Forbidden)
	a.expect(t, "+OK", "CLUSTERX", "MIGRATE", "5000-5100", nodes[1].ID())
	<-hold.Arrived()
	a.expect(t, "-TRYAGAIN Can't write to slot being migrated which is in write forbidden phase", "SET", "bar", "2")
	a.expect(t, "1", "GET", "bar")
	a.expect(t, "+OK", "SET", "hello", "other slots are written to")
	b.expect(t, "-MOVED 5061 "+nodes[0].Addr(), "GET", "bar")
	a.becomes(t, "migrating_slot(s): 5000-5100\r\ndestination_node: "+nodes[1].ID()+"\r\nmigrating_state: start", "CLUSTER", "INFO")
	b.becomes(t, "importing_slot(s): 5000-5100\r\nimport_state: start", "CLUSTER", "INFO")
	a.expect(t, "-ERR There is already a migrating job", "CLUSTERX", "MIGRATE", "5", nodes[1].ID())
	hold.Release()
	a.becomes(t, "migrating_state: success", "CLUSTER", "INFO")
	a.expect(t, "-MOVED 5061 "+nodes[1].Addr(), "GET", "bar")
	b.expect(t, "1", "GET", "bar")
	a.becomes(t, "connected 0-8191", "CLUSTER", "NODES") // The topology is the old one.
	for _, c := range []*client{b, a} {
		c.expect(t, "+OK", "CLUSTERX", "SETSLOT", "5000-5100", "NODE", nodes[1].ID(), "2")
		c.becomes(t, "connected 0-4999 5101-8191", "CLUSTER", "NODES")
	}
	b.expect(t, "1", "GET", "bar")
	if n := nodes[0].Do("EXISTS", "bar").Integer(); n != 0 {
		t.Error("the source keeps its copy")
	}
	b.expect(t, "+OK", "CLUSTERX", "MIGRATE", "5000-5100", nodes[0].ID()) // And back.
	b.becomes(t, "migrating_state: success", "CLUSTER", "INFO")
	for _, c := range []*client{a, b} {
		c.expect(t, "+OK", "CLUSTERX", "SETSLOT", "5000-5100", "NODE", nodes[0].ID(), "3")
	}
	a.expect(t, "1", "GET", "bar")
}

func TestWritesAreHeldInTheLastPhase(t *testing.T) {
	nodes := StartCluster(t, 2, Options{HoldWrites: true})
	a := connect(t, nodes[0])
	a.expect(t, "+OK", "SET", "bar", "1")
	hold := nodes[0].Faults.Hold(Forbidden)
	a.expect(t, "+OK", "CLUSTERX", "MIGRATE", "5061", nodes[1].ID())
	<-hold.Arrived()
	writer := connect(t, nodes[0])
	got := make(chan string, 1)
	go func() { got <- writer.ask(t, "SET", "bar", "2") }()
	testbed.Eventually(t, func() error {
		if n := nodes[0].Calls("SET").Running; n != 1 {
			return fmt.Errorf("%d writes", n)
		}
		return nil
	}, 20*time.Second)
	a.expect(t, "1", "GET", "bar")
	hold.Release()
	if reply := <-got; reply != "-MOVED 5061 "+nodes[1].Addr() {
		t.Errorf("%q", reply)
	}
	a.becomes(t, "connected 0-5060 5062-8191", "CLUSTER", "NODES")
	connect(t, nodes[1]).expect(t, "1", "GET", "bar")
}

func TestKilledSourceFails(t *testing.T) {
	nodes := StartCluster(t, 2, Options{})
	a := connect(t, nodes[0])
	a.expect(t, "+OK", "SET", "bar", "1")
	hold := nodes[0].Faults.Hold(Forbidden)
	a.expect(t, "+OK", "CLUSTERX", "MIGRATE", "5061", nodes[1].ID())
	<-hold.Arrived()
	nodes[0].Kill()
	b := connect(t, nodes[1])
	b.becomes(t, "import_state: error", "CLUSTER", "INFO")
	b.expect(t, "-MOVED 5061 "+nodes[0].Addr(), "GET", "bar")
	b.expect(t, "-ERR Invalid slot or node", "CLUSTERX", "MIGRATE", "99999", nodes[0].ID())
	b.expect(t, "-ERR Can't migrate slot which doesn't belong to me", "CLUSTERX", "MIGRATE", "1", nodes[0].ID())
}

// TestNodesMigrateToEachOther: at the hand-over each tells the other one who owns the slots.
func TestNodesMigrateToEachOther(t *testing.T) {
	nodes := StartCluster(t, 2, Options{HoldWrites: true})
	a, b := connect(t, nodes[0]), connect(t, nodes[1])
	ofA, ofB := "5000-5100", "12000-12200"
	for range 20 {
		holds := []*fake.Hold{nodes[0].Faults.Hold(Forbidden), nodes[1].Faults.Hold(Forbidden)}
		a.expect(t, "+OK", "CLUSTERX", "MIGRATE", ofA, nodes[1].ID())
		b.expect(t, "+OK", "CLUSTERX", "MIGRATE", ofB, nodes[0].ID())
		if t.Failed() {
			return // What was refused does not arrive.
		}
		for _, hold := range holds {
			<-hold.Arrived()
		}
		for _, hold := range holds {
			hold.Release()
		}
		for _, c := range []*client{a, b} {
			c.becomes(t, "migrating_state: success", "CLUSTER", "INFO")
		}
		ofA, ofB = ofB, ofA
	}
}
