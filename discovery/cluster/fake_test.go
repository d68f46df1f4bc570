package cluster

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tidwall/resp"
)

// fakeNode answers the commands of a look. mu guards the fields below it.
type fakeNode struct {
	addr string

	mu      sync.Mutex
	answers map[string]string // By command in capitals: the reply as bytes; "" is silence for ever.
	got     []string          // All commands, oldest first.
	conns   int
}

// startFake listens on a port of 127.0.0.1 and answers, until the test ends, like a node that calls the
// cluster ok and knows no command but the given ones.
func startFake(t *testing.T, answers map[string]string) *fakeNode {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeNode{addr: l.Addr().String(), answers: map[string]string{
		"CLUSTER INFO": bulk("cluster_state:ok\r\ncluster_size:3\r\n"),
	}}
	for cmd, reply := range answers {
		f.answers[cmd] = reply
	}
	f.serve(t, l)
	return f
}

func (f *fakeNode) serve(t *testing.T, l net.Listener) {
	var wg sync.WaitGroup
	var open []net.Conn
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			open = append(open, conn)
			f.conns++
			f.mu.Unlock()
			wg.Go(func() { f.talk(conn) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		f.mu.Lock()
		for _, conn := range open {
			conn.Close()
		}
		f.mu.Unlock()
		wg.Wait()
	})
}

// talk answers until the connection ends.
func (f *fakeNode) talk(conn net.Conn) {
	defer conn.Close()
	rd := resp.NewReader(conn)
	for {
		v, _, _, err := rd.ReadMultiBulk()
		if err != nil {
			return
		}
		var words []string
		for _, arg := range v.Array() {
			words = append(words, arg.String())
		}
		f.mu.Lock()
		f.got = append(f.got, strings.Join(words, " "))
		reply, known := f.answers[strings.ToUpper(strings.Join(words[:min(2, len(words))], " "))]
		if !known {
			reply, known = f.answers[strings.ToUpper(words[0])]
		}
		f.mu.Unlock()
		if !known {
			reply = fmt.Sprintf("-ERR unknown subcommand or command '%s'\r\n", words[0])
		}
		if _, err := conn.Write([]byte(reply)); err != nil {
			return
		}
	}
}

// set changes an answer.
func (f *fakeNode) set(cmd, reply string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers[cmd] = reply
}

// commands lists what has been asked.
func (f *fakeNode) commands() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.got)
}

func bulk(s string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }

// array joins replies to one.
func array(items ...string) string {
	return fmt.Sprintf("*%d\r\n%s", len(items), strings.Join(items, ""))
}

// shardsReply is a CLUSTER SHARDS reply of shards with one range each.
func shardsReply(shards ...string) string { return array(shards...) }

// shardOf is a shard of CLUSTER SHARDS; the first address is the master, ids are the addresses.
func shardOf(from, to int, addrs ...string) string {
	nodes := make([]string, len(addrs))
	for i, addr := range addrs {
		host, port, _ := net.SplitHostPort(addr)
		role := "replica"
		if i == 0 {
			role = "master"
		}
		nodes[i] = array(bulk("id"), bulk(addr), bulk("port"), ":"+port+"\r\n", bulk("endpoint"), bulk(host),
			bulk("role"), bulk(role), bulk("health"), bulk("online"))
	}
	return array(bulk("slots"), array(fmt.Sprintf(":%d\r\n", from), fmt.Sprintf(":%d\r\n", to)),
		bulk("nodes"), array(nodes...))
}

// rowOf is a row of CLUSTER SLOTS with nodes of three elements, all of the same id; the first address is the
// master.
func rowOf(from, to int, addrs ...string) string {
	cols := []string{fmt.Sprintf(":%d\r\n", from), fmt.Sprintf(":%d\r\n", to)}
	for _, addr := range addrs {
		host, port, _ := net.SplitHostPort(addr)
		cols = append(cols, array(bulk(host), ":"+port+"\r\n", bulk("id")))
	}
	return array(cols...)
}
