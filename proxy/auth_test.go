package proxy

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"sluice/internal/testbed"
	"sluice/proxy/resp"
)

// withUsers gives the pool the users that startProtected gives a server.
func withUsers(_ *Config, pool *PoolConfig) {
	pool.Users = []User{{Name: "default", Passwords: passwords("secret", "second")}, {Name: "alice", Passwords: passwords("wonder")}}
}

// passwords hashes some.
func passwords(list ...string) []PasswordHash {
	out := make([]PasswordHash, len(list))
	for i, p := range list {
		out[i] = HashPassword(p)
	}
	return out
}

func startProtected(t *testing.T) *testbed.Server {
	t.Helper()
	s := testbed.Redis(t, "--requirepass", "secret")
	for _, acl := range []string{"default >second", "alice on >wonder ~* &* +@all"} {
		if err := s.Do(append([]string{"ACL", "SETUSER"}, strings.Fields(acl)...)...).Error(); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// What a client may do before and after AUTH, each line on a connection of its own.
func TestAuthIsThatOfRedis(t *testing.T) {
	direct := startProtected(t)
	top := codisTopology(t, withUsers)
	f := func(script string) {
		t.Helper()
		list := statements(t, script)
		for _, run := range []func(string) []string{
			func(addr string) []string { return talk(t, addr, list) },
			func(addr string) []string { return talkPipelined(t, addr, list) },
		} {
			compare(t, script, list, run(top.addr), run(direct.Addr()))
		}
	}
	f(`GET a; SET a 1; MGET a b; PING; PING x; ECHO x; SELECT 1; CLIENT ID; CLIENT SETNAME x; COMMAND; INFO; CONFIG GET *; TIME; MULTI; SUBSCRIBE x`)
	f(`nosuch; GET; CLIENT nosuch; HELLO 9; HELLO x; RESET; GET a; QUIT`)
	f(`~HELLO; ~HELLO 2; ~HELLO 3; ~HELLO 3 SETNAME x; GET a`) // The text depends on the version of Redis.
	f(`AUTH wrong; GET a; AUTH ""; AUTH nobody secret; AUTH alice secret; AUTH default wonder; AUTH SECRET; AUTH a b c; AUTH; GET a`)
	f(`AUTH secret; GET a; PING; SET a 1; GET a; DEL a`)
	f(`AUTH second; GET a`)
	f(`AUTH alice wonder; SET a 1; GET a; DEL a`)
	f(`AUTH default secret; GET a; AUTH wrong; GET a; AUTH nobody x; GET a; AUTH alice wonder; GET a; RESET; GET a; AUTH secret; GET a`)
	f(`AUTH secret; RESET; GET a; PING; RESET; AUTH second; PING`)
	f(`HELLO 3 AUTH default wrong; GET a; HELLO 3 AUTH default; HELLO 3 AUTH; GET a`)
	f(`~HELLO 3 AUTH default secret; GET a; MGET a b; RESET; GET a`)
	f(`~HELLO 2 AUTH alice wonder SETNAME me; CLIENT GETNAME; GET a`)
	f(`~HELLO 3 SETNAME me AUTH alice wonder; CLIENT GETNAME; GET a; HELLO 3 AUTH alice wrong; CLIENT GETNAME; GET a`)
	if n := top.Stats().AuthFailures; n == 0 {
		t.Error("refused passwords are not counted")
	}
}

// talk runs the statements on a connection that says nothing first.
func talk(t *testing.T, addr string, list []statement) []string {
	t.Helper()
	c := dial(t, "tcp", addr)
	defer c.Close()
	replies := make([]string, len(list))
	for i, s := range list {
		replies[i] = c.do(s.args...)
	}
	return replies
}

// talkPipelined is talk with everything in one write.
func talkPipelined(t *testing.T, addr string, list []statement) []string {
	t.Helper()
	c := dial(t, "tcp", addr)
	defer c.Close()
	var requests []byte
	for _, s := range list {
		requests = resp.AppendCommand(requests, s.args...)
	}
	return c.pipeline(string(requests), len(list))
}

// Before AUTH a client can't make the server hold much.
func TestUnauthenticatedRequestsAreSmall(t *testing.T) {
	direct := startProtected(t)
	top := codisTopology(t, withUsers)
	bulk := func(n int) string { return "$" + strconv.Itoa(n) + "\r\n" + strings.Repeat("x", n) + "\r\n" }
	const quit = "*1\r\n$4\r\nQUIT\r\n"
	ten, eleven := strings.Repeat(bulk(1), 9), strings.Repeat(bulk(1), 10)
	for name, requests := range map[string]string{
		"10 arguments":         "*10\r\n" + bulk(4) + ten + quit,
		"11 arguments":         "*11\r\n" + bulk(4) + eleven + quit,
		"16 KiB":               "*2\r\n$4\r\nAUTH\r\n" + bulk(16<<10) + quit,
		"16 KiB and a byte":    "*2\r\n$4\r\nAUTH\r\n$16385\r\n",
		"much, behind AUTH":    "*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n" + bulk(20<<10) + quit,
		"many, behind AUTH":    "AUTH secret\r\n*12\r\n$3\r\nDEL\r\n" + eleven + bulk(1) + quit,
		"much, behind a wrong": "AUTH nosecret\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$20000\r\n",
		"many, after RESET":    "AUTH secret\r\nRESET\r\n*12\r\n$3\r\nDEL\r\n" + eleven + bulk(1) + quit,
	} {
		if got, want := converse(t, top.addr, requests), converse(t, direct.Addr(), requests); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// A client that is accepted while a reload brings the first users has to authenticate like any other.
func TestReloadOfUsersFindsClientsOnTheirWay(t *testing.T) {
	top := codisTopology(t)
	release := make(chan struct{})
	top.loops[0].execute(func() { <-release })
	c := top.dial(t)
	testbed.Eventually(t, func() error {
		if n := top.Clients(); n != 1 {
			return fmt.Errorf("%d clients", n)
		}
		return nil
	}, replyWait)
	settings := *top.pool.Settings()
	settings.Users = []User{{Name: "default", Passwords: passwords("p")}}
	top.pool.settings.Store(&settings) // As SetSettings does before it tells the loops.
	close(release)
	c.want("-"+errNoAuth+"\r\n", "GET", "k")
}
