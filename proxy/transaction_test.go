package proxy

import (
	"testing"

	"sluice/internal/testbed"
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
