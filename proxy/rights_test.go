package proxy

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"sluice/internal/testbed"
	"sluice/proxy/acl"
	"sluice/proxy/command"
)

// bobsRights are those of a user who may do some things.
var bobsRights = acl.Spec{
	Keys: []string{"app:*", "%R~read:*", "%W~write:*"}, Channels: []string{"news.*"},
	Commands: []string{"+@all", "-@dangerous", "+@scripting", "-append", "-client|list", "+sort"},
}

func rights(t *testing.T, s acl.Spec) *acl.Rules {
	t.Helper()
	r, err := acl.New(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// withBob gives the pool bob, who is restricted, and root, who is not.
func withBob(t *testing.T) func(*Config, *PoolConfig) {
	return func(_ *Config, pool *PoolConfig) {
		pool.Users = []User{
			{Name: "bob", Passwords: passwords("b"), Rights: rights(t, bobsRights)}, {Name: "root", Passwords: passwords("r")},
		}
	}
}

// startWithBob starts a server with the same users.
func startWithBob(t *testing.T) *testbed.Server {
	t.Helper()
	s := testbed.Redis(t)
	bob := []string{"ACL", "SETUSER", "bob", "on", ">b", "~app:*", "%R~read:*", "%W~write:*", "&news.*"}
	for _, args := range [][]string{append(bob, bobsRights.Commands...), {"ACL", "SETUSER", "root", "on", ">r", "~*", "&*", "+@all"}, {"ACL", "SETUSER", "default", "off"}} {
		if err := s.Do(args...).Error(); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// A restricted user gets the answers of a server that has the same rules, alone, in a pipeline, and inside MULTI.
func TestRightsAreThoseOfRedis(t *testing.T) {
	direct := startWithBob(t)
	top := codisTopology(t, withBob(t))
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
	f(`AUTH bob b; SET app:1 x; GET app:1; GET other; SET other x; GET read:1; SET read:1 x; SET write:1 x; GET write:1; SET write:1 x GET; DEL app:1 write:1`)
	f(`AUTH bob b; MGET app:1 read:1; MGET app:1 other; MGET app:1 write:1; MSET app:1 1 write:1 2; MSET app:1 1 read:1 2; DEL read:1; EXISTS other; TOUCH write:1; DEL app:1 write:1`)
	f(`AUTH bob b; APPEND app:1 x; append other x; CLIENT LIST; CLIENT ID x; CLIENT GETNAME; KEYS *; FLUSHALL; CONFIG GET x; nosuch a; GET; CLIENT nosuch; APPEND; KEYS; PING; ECHO x`)
	f(`AUTH bob b; EVAL "return 1" 1 app:1; EVAL "return 1" 1 other; EVAL "return 1" 1 read:1; SORT app:1 BY w_*; SORT app:1 GET #; SORT app:1; SORT other`)
	f(`AUTH bob b; MULTI; SET app:1 x; GET other; GET app:1; EXEC; GET app:1; MULTI; KEYS *; EXEC; MULTI; SET app:1 y; EXEC; DEL app:1`)
	f(`AUTH bob b; GET other; AUTH root r; GET other; AUTH bob b; GET other; RESET; GET other; AUTH bob wrong; GET app:1; AUTH bob b; GET app:1; GET other`)
	f(`AUTH bob b; GET other; AUTH root wrong; GET other; PUBLISH x m; SUBSCRIBE x; PSUBSCRIBE news.1; SPUBLISH x m; WATCH other; BLPOP other 0; XREAD BLOCK 0 STREAMS other 0`)
	f(`~HELLO 3 AUTH bob b; GET other; KEYS *; MGET app:1 other; SET read:1 x; GET app:1`)
	f(`AUTH bob b; ACL WHOAMI; ACL DRYRUN bob get x; ACL nosuch; ACL; AUTH root r; ACL WHOAMI; ACL DRYRUN bob GET x; ACL DRYRUN bob get app:1; ACL DRYRUN bob SUBSCRIBE x`)
	f(`AUTH root r; ACL DRYRUN bob keys *; ACL DRYRUN bob client list; ACL DRYRUN nobody get x; ACL DRYRUN bob nosuch; ACL DRYRUN bob get; ACL DRYRUN root flushall; ACL CAT nosuch; ~ACL CAT; ACL CAT a b; ACL DRYRUN bob; ACL WHOAMI x`)
	if top.Stats().Denied == 0 {
		t.Error("denials are not counted")
	}
}

// sync waits until the loops have done what they were asked for.
func (p *testProxy) sync() { p.onEachLoop(context.Background(), func(*loop) {}) }

// setUsers changes the users, as a reload does.
func (p *testProxy) setUsers(users ...User) {
	s := *p.pool.Settings()
	s.Users = users
	p.pool.SetSettings(s)
	p.sync()
}

func TestAReloadAppliesRightsToThoseConnected(t *testing.T) {
	top := codisTopology(t, withBob(t))
	login := func(user, password string) *testClient {
		c := top.dial(t)
		c.want("+OK\r\n", "AUTH", user, password)
		return c
	}
	bob, root, stranger := login("bob", "b"), login("root", "r"), top.dial(t)
	denied := "-NOPERM this user has no permissions to access one of the keys used as arguments\r\n"
	bob.want(denied, "SET", "other", "x")
	root.want("+OK\r\n", "SET", "other", "x")

	root.want("+OK\r\n", "MULTI")
	root.want("+QUEUED\r\n", "SET", "other", "y")
	open := User{Name: "bob", Passwords: passwords("hunter2", "b")}
	top.setUsers(open, User{Name: "root", Passwords: passwords("r"), Rights: rights(t, acl.Spec{ReadOnly: true})})
	bob.want("$1\r\nx\r\n", "GET", "other")
	root.want("-EXECABORT Transaction discarded because of previous errors.\r\n", "EXEC")
	root.want("-NOPERM this user has no permissions to run the 'set' command\r\n", "SET", "other", "y")
	root.want("$1\r\nx\r\n", "GET", "other")
	stranger.want("-NOAUTH Authentication required.\r\n", "GET", "other")

	// A password that is gone is no reason to end what has begun with it; a user that is gone is.
	open.Passwords = passwords("hunter2")
	top.setUsers(open)
	root.wantClosed()
	bob.want("$1\r\nx\r\n", "GET", "other")
	stranger.want("-WRONGPASS invalid username-password pair or user is disabled.\r\n", "AUTH", "bob", "b")
	stranger.want("+OK\r\n", "AUTH", "bob", "hunter2")

	waiting := top.dial(t)
	top.setUsers()
	bob.wantClosed()
	waiting.want("$1\r\nx\r\n", "GET", "other")
	top.setUsers(open)
	waiting.wantClosed()
	if log := top.logs.String(); strings.Contains(log, "hunter2") || !strings.Contains(log, "user=root") {
		t.Errorf("the log should have the user who is gone, and no password:\n%s", log)
	}
}

func TestPasswordsAreKeptAsHashes(t *testing.T) {
	u := User{Name: "bob", Passwords: passwords("hunter2")}
	const sum = "f52fbd32b2b3b86ff88ef6c490628285f482af15ddcb29541f94bcf526a3f6c7"
	for _, s := range []string{fmt.Sprint(u), fmt.Sprintf("%+v %#v", u, u), fmt.Sprintf("%x %v %d %s", u.Passwords[0], u.Passwords, u.Passwords[0], u.Passwords[0])} {
		if s = strings.ToLower(s); strings.Contains(s, "hunter2") || strings.Contains(s, sum) || strings.Contains(s, "245") || strings.Contains(s, "0xf5") {
			t.Errorf("a password is in %s", s)
		}
	}
	for _, text := range []string{sum, strings.ToUpper(sum)} {
		if h, err := ParsePasswordHash(text); err != nil || h != u.Passwords[0] {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{"", sum[1:], sum + "00", "x" + sum[1:]} {
		if _, err := ParsePasswordHash(text); err == nil {
			t.Errorf("%q is taken for a hash", text)
		}
	}
}

func TestCategoriesAreThoseOfRedis(t *testing.T) {
	direct := testbed.Redis(t)
	top := codisTopology(t)
	c := top.dial(t)
	theirs := dial(t, "tcp", direct.Addr())
	for _, category := range command.CategoryNames() {
		reply := theirs.do("ACL", "CAT", category)
		if strings.HasPrefix(reply, "-ERR Unknown category ") { // Newer than the server.
			continue
		}
		ours, want := elements(t, c.do("ACL", "CAT", category)), elements(t, reply)
		for _, name := range want {
			if !slices.Contains(ours, name) {
				t.Errorf("%s lacks %s", category, name)
			}
		}
	}
	for _, call := range []string{"ACL GETUSER x", "ACL SETUSER x on", "ACL DELUSER x", "ACL LOAD", "ACL SAVE", "ACL LOG", "ACL GENPASS"} {
		c.want("-"+errACL+"\r\n", strings.Fields(call)...)
	}
	if got := c.do("ACL", "HELP"); len(elements(t, got)) != 14 {
		t.Errorf("ACL HELP: %q", got)
	}
}

// ACL LIST and USERS show who may what, and nothing of passwords.
func TestACLShowsTheUsers(t *testing.T) {
	p := startEchoes(t, 1, func(_ *Config, pool *PoolConfig) {
		pool.Users = []User{
			{Name: "default", Passwords: passwords("secret")},
			{Name: "app", Passwords: append(passwords("secret"), passwords("other")...), Rules: "~app:* &* +@all"},
		}
		pool.Users[0].Rules = "~* &* +@all"
	})
	c := p.dial(t)
	c.want("-NOAUTH Authentication required.\r\n", "ACL", "LIST")
	c.want("+OK\r\n", "AUTH", "secret")
	c.want("*2\r\n$32\r\nuser default on #*** ~* &* +@all\r\n$37\r\nuser app on #*** #*** ~app:* &* +@all\r\n", "ACL", "LIST")
	c.want("*2\r\n$7\r\ndefault\r\n$3\r\napp\r\n", "ACL", "USERS")
}
