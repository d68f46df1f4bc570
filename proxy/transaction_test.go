package proxy

import (
	"strings"
	"testing"

	"sluice/internal/testbed"
	"sluice/proxy/command"
	"sluice/router"
)

// A transaction answers what it answers on a server, byte for byte: one by one and in one pipeline.
func TestTransactionsAnswerAsRedisDoes(t *testing.T) {
	direct := testbed.Redis(t)
	list := statements(t, `
MULTI; SET {t}a 1; INCR {t}a; GET {t}a; EXEC; GET {t}a; MULTI; EXEC; EXEC; DISCARD; MULTI; MULTI; SET {t}b 1; EXEC; GET {t}b
MULTI; SET {t}a 2; DISCARD; GET {t}a; MULTI; SET {t}a; SET {t}a 3; EXEC; GET {t}a; MULTI; nosuch; SET {t}a 3; EXEC; GET {t}a
MULTI; LPUSH {t}a x; SET {t}c 1; EXEC; GET {t}c; MULTI; PING; ECHO hi; EXEC; MULTI; WATCH {t}a; SET {t}a 4; EXEC; GET {t}a
WATCH {t}a; MULTI; SET {t}a 5; EXEC; WATCH {t}a {t}b; SET {t}b 2; MULTI; SET {t}a 6; EXEC; GET {t}a; UNWATCH; WATCH {t}a; UNWATCH; SET {t}a 7; MULTI; GET {t}a; EXEC
WATCH {t}a; MULTI; DISCARD; MULTI; EXEC; WATCH {t}a; MULTI; EXEC; MULTI; UNWATCH; GET {t}a; EXEC; WATCH; MULTI x; EXEC x; DISCARD x; MULTI; BLPOP {t}l 0; BLMOVE {t}l {t}m LEFT LEFT 0; EXEC
MULTI; XREAD BLOCK 0 STREAMS {t}s $; MGET {t}a {t}b; DEL {t}a {t}b; EVAL "return redis.call('SET',KEYS[1],'x')" 1 {t}a; EXEC; GET {t}a; MULTI; EVAL "return {err='E x'}" 1 {t}a; EXEC
EXISTS {t}a; MULTI; SET {t}a "\x00\r\n"; GET {t}a; EXEC; WATCH {t}a; RESET; MULTI; GET {t}a; RESET; EXEC; ~HELLO 3; MULTI; HGETALL {t}h; ZADD {t}z 1.5 m; ZSCORE {t}z m; EXEC
WATCH {t}n; SET {t}n 1; MULTI; GET {t}n; EXEC; WATCH {t}n; DEL {t}n; MULTI; EXEC; MULTI; WAIT 0 0; EXEC
`)
	compareWith(t, direct, list)
}

// What Sluice answers itself, SELECT, MOVE and what is about all keys can be part of a transaction, where one
// server has all keys.
func TestTransactionsWithWhatIsNotOfOneKey(t *testing.T) {
	direct := testbed.Redis(t)
	list := statements(t, `
MULTI; CLIENT SETNAME me; SET {t}a 1; CLIENT GETNAME; GET {t}a; EXEC; CLIENT GETNAME; MULTI; CLIENT SETNAME "a b"; COMMAND GETKEYS GET k; ACL WHOAMI; SLOWLOG RESET; SLOWLOG LEN; ROLE; EXEC
MULTI; SELECT 1; SET {t}a 2; GET {t}a; EXEC; GET {t}a; SELECT 0; GET {t}a; MULTI; SELECT 1; SELECT 2; EXEC; SET {t}a 3; SELECT 0; GET {t}a; SELECT 2; GET {t}a; SELECT 0
MULTI; SELECT 1; DISCARD; GET {t}a; MULTI; SELECT x; EXEC; MULTI; SELECT 99; EXEC; GET {t}a; WATCH {t}a; SET {t}a 4; MULTI; SELECT 1; CLIENT SETNAME no; EXEC; CLIENT GETNAME; GET {t}a
MULTI; SELECT 3; CLIENT SETNAME x; SET {t}a 9; EXEC; MULTI; GET {t}a; EXEC; SELECT 0
SET {t}m 1; MOVE {t}m 5; MOVE {t}m 5; EXISTS {t}m; SELECT 5; GET {t}m; MULTI; MOVE {t}m 0; EXEC; SELECT 0; GET {t}m; MOVE {t}m 0; MOVE {t}m 99; MOVE {t}m x
MULTI; DBSIZE; KEYS {t}m; EXISTS {t}m; FLUSHDB; DBSIZE; RANDOMKEY; EXEC; DBSIZE; SET {t}m 1; MULTI; FLUSHALL; SET {t}k 1; EXEC; GET {t}m; GET {t}k
MULTI; SCRIPT LOAD "return 1"; SCRIPT EXISTS e0e1f9fabfc9d4800c877a703b823ac0578ff8db; EXEC; EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0; MULTI; SCRIPT FLUSH; EXEC; SCRIPT EXISTS e0e1f9fabfc9d4800c877a703b823ac0578ff8db
MULTI; SWAPDB 0 1; EXEC; SWAPDB 0 1; GET {t}k; MULTI; CLIENT SETNAME y; EXEC; MULTI; SELECT 0; EXEC; ~HELLO 3; MULTI; SELECT 1; HGETALL {t}h; CLIENT TRACKINGINFO; EXEC; SELECT 0; MULTI; CLIENT NO-EVICT on; LATENCY RESET; EXEC
`)
	top := startProxy(t, codisModel, evenly(codisModel, testbed.Redis(t).Addr()))
	for _, proto := range []string{"2", "3"} {
		compare(t, "RESP"+proto, list, runOneByOne(t, top.addr, proto, list), runOneByOne(t, direct.Addr(), proto, list))
		compare(t, "RESP"+proto, list, runPipelined(t, top.addr, proto, list), runPipelined(t, direct.Addr(), proto, list))
	}
}

// Another client of the same connection never sees the database that a transaction has selected.
func TestTransactionLeavesTheDatabaseOfTheConnection(t *testing.T) {
	top := codisTopology(t)
	a, b := top.dial(t), top.dial(t)
	b.want("+OK\r\n", "SET", "k", "0")
	got := a.pipeline("MULTI\r\nSELECT 1\r\nSET k 1\r\nEXEC\r\nGET k\r\n", 5)
	if got[3] != "*2\r\n+OK\r\n+OK\r\n" || got[4] != "$1\r\n1\r\n" {
		t.Errorf("%q", got)
	}
	b.want("$1\r\n0\r\n", "GET", "k")
	// Neither when it is not run.
	got = a.pipeline("SELECT 0\r\nMULTI\r\nSELECT 2\r\nSET k\r\nEXEC\r\nGET k\r\n", 6)
	if got[5] != "$1\r\n0\r\n" {
		t.Errorf("%q", got)
	}
	b.want("$1\r\n0\r\n", "GET", "k")
}

// Every command that Sluice answers in a transaction does so at once.
func TestWhatIsAnsweredInTransactions(t *testing.T) {
	c := codisTopology(t).dial(t)
	for id := range command.Count {
		cmd := command.At(id)
		if len(cmd.Subcommands) > 0 || !answersInside(cmd) {
			continue
		}
		args := strings.Split(cmd.Name, "|")
		for !cmd.ArityOK(len(args)) {
			args = append(args, "x")
		}
		c.want("+OK\r\n", "MULTI")
		c.want("+QUEUED\r\n", args...)
		if got := c.do("EXEC"); !strings.HasPrefix(got, "*1\r\n") || got == "*1\r\n+PONG\r\n" {
			t.Errorf("%v: %q", args, got)
		}
	}
}

// rueidis sends CLIENT CACHING YES in one go with a transaction, and keeps what that answers until it hears that it has
// changed. As nobody will tell it, the transaction fails with the CACHING; the next one does not.
func TestTransactionBehindRefusedCachingFails(t *testing.T) {
	c := codisTopology(t).dial(t)
	refused := "-" + errNoCaching + "\r\n"
	got := c.pipeline("CLIENT CACHING YES\r\nMULTI\r\nPTTL k\r\nGET k\r\nEXEC\r\n", 5)
	if got[0] != refused || got[4] != "-EXECABORT Transaction discarded because of: "+errNoCaching+"\r\n" {
		t.Errorf("%q", got)
	}
	got = c.pipeline("CLIENT CACHING YES\r\nGET k\r\nMULTI\r\nGET k\r\nEXEC\r\nMULTI\r\nEXEC\r\n", 7)
	if got[0] != refused || got[4] != "*1\r\n$-1\r\n" || got[6] != "*0\r\n" {
		t.Errorf("%q", got)
	}
}

// What is about all keys can't be part of a transaction of several servers, or while keys are on their way; nor can
// a database be selected then, since keys of moving slots are looked for in that of the client. What Sluice answers
// itself always can.
func TestTransactionsOverAllKeysNeedOneServer(t *testing.T) {
	a, b := testbed.Redis(t), testbed.Redis(t)
	p := startProxy(t, codisModel, evenly(codisModel, a.Addr(), b.Addr()), holding(never))
	c := p.dial(t)
	c.want("+OK\r\n", "SET", "k", "0")
	c.want("+OK\r\n", "MULTI")
	c.want("-ERR 'flushall' is about all 2 masters, and a transaction through Sluice runs at one\r\n", "FLUSHALL")
	c.want("-EXECABORT Transaction discarded because of previous errors.\r\n", "EXEC")
	got := c.pipeline("MULTI\r\nCLIENT SETNAME me\r\nSELECT 1\r\nSET k 1\r\nEXEC\r\nGET k\r\n", 6)
	if got[4] != "*3\r\n+OK\r\n+OK\r\n+OK\r\n" || got[5] != "$1\r\n1\r\n" {
		t.Errorf("%q", got)
	}

	slot := codisModel.Slot([]byte("k"))
	specs := []router.GroupSpec{{ID: "1", Master: a.Addr(), Slots: []router.Range{{From: 0, To: 1023}}}, {ID: "2", Master: b.Addr()}}
	p.setTable(t, specs)
	c.want("+OK\r\n", "MULTI")
	c.want("+QUEUED\r\n", "DBSIZE")
	p.setTable(t, specs, router.MoveSpec{Slots: []router.Range{{From: slot, To: slot}}, Phase: router.Locked})
	c.request("EXEC")
	p.awaitHeld(t, 1)
	p.setTable(t, specs)
	c.wantReply("*1\r\n:0\r\n") // In database 1 k is at the other server.
	c.want("+OK\r\n", "MULTI")
	c.want("+QUEUED\r\n", "SELECT", "2")
	c.want("+QUEUED\r\n", "GET", "k")
	p.setTable(t, specs, router.MoveSpec{Slots: []router.Range{{From: slot, To: slot}}, Phase: router.Locked})
	c.request("EXEC")
	p.awaitHeld(t, 1)
	p.setTable(t, specs)
	c.wantReply("*2\r\n+OK\r\n$-1\r\n")
	c.want("+OK\r\n", "MULTI")
	c.want("+QUEUED\r\n", "DBSIZE")
	p.setTable(t, evenly(codisModel, a.Addr(), b.Addr()))
	c.want("-EXECABORT Transaction discarded because of: it is about all keys, and these belong to 2 masters now\r\n", "EXEC")
}

// What Sluice keeps of a transaction to answer it itself is bounded, and so is how much that is.
func TestTransactionsBoundWhatSluiceAnswers(t *testing.T) {
	top := codisTopology(t, func(cfg *Config, _ *PoolConfig) { cfg.Limits.MaxUnparsed = 64 << 10 })
	c := top.dial(t)
	c.want("+OK\r\n", "MULTI")
	large := []string{"COMMAND", "GETKEYS", "SET", "k", strings.Repeat("v", 20<<10)}
	for range 3 {
		c.want("+QUEUED\r\n", large...)
	}
	c.want("-ERR the transaction is larger than max_unparsed, 65536 bytes\r\n", large...)
	c.want("-EXECABORT Transaction discarded because of previous errors.\r\n", "EXEC")

	c.want("+OK\r\n", "MULTI")
	for range mostOwn {
		c.want("+QUEUED\r\n", "CLIENT", "GETNAME")
	}
	c.want("-ERR a transaction has at most 100 commands that Sluice answers itself\r\n", "CLIENT", "GETNAME")
	c.want("-EXECABORT Transaction discarded because of previous errors.\r\n", "EXEC")
}

// Answers that are larger together than client_output end the client, and not the process.
func TestTransactionsWithTooLargeAnswersOfSluice(t *testing.T) {
	top := codisTopology(t, func(cfg *Config, _ *PoolConfig) { cfg.Limits.ClientOutput = 256 << 10 })
	c := top.dial(t)
	c.want("+OK\r\n", "MULTI")
	for range mostOwn {
		c.want("+QUEUED\r\n", "COMMAND")
	}
	c.request("EXEC")
	if reply, err := c.tryReply(); err == nil {
		t.Errorf("%d bytes came", len(reply))
	}
	top.dial(t).want("+PONG\r\n", "PING")
}
