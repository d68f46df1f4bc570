package proxy

import (
	"strconv"
	"strings"
	"testing"
)

// The invocations that TestCommandsAnswerAsRedisDoes compares. Statements are divided by ";", words by
// blanks, and a word in double quotes is a Go string. A statement runs after all those before it, and sees
// their data. Its first character may say how its replies are compared, where bytes can't be equal:
//
//	~  by kind: the reply holds a random choice or a time, or Sluice words the error itself (it can't send a
//	   request in which the number of keys makes no sense)
//	?  as members in any order: a server orders a hash table by a seed of its own
//	!  not at all in a cluster, where servers refuse it
//
// Keys of one command share a tag, so that they are in one slot everywhere.
const stringCommands = `
SET a 1; GET a; SET a "" ; GET a; GET nokey; SET a x NX; SET a y XX; SET b y XX; SET a z GET; SET a 1 NX GET
SET a 1 EX 0; SET a 1 PX -5; SET a 1 EX x; SET a 1 NX XX; SET a 1 KEEPTTL EX 5; SET a 1 FOO; SET a 1 EXAT 99999999999
EXPIRETIME a; SET a 2 KEEPTTL; EXPIRETIME a; SET a 3; EXPIRETIME a; SET a 1 PXAT 99999999999000; PEXPIRETIME a
set "k\x00\r\n\xff" "v\r\n$5\r\n\x00\xfe"; gEt "k\x00\r\n\xff"; strlen "k\x00\r\n\xff"; SET "" empty; GET ""; DEL ""
GETSET a 5; GETSET nokey2 1; GETDEL nokey2; GETDEL nokey2; GETEX a; GETEX a EXAT 99999999999; GETEX a PERSIST; GETEX a EX
SETEX a 100 v; SETEX a 0 v; SETEX a x v; PSETEX a 100000 v; PSETEX a -1 v; ~TTL a; ~PTTL a; TTL nokey; PTTL nokey
SETNX a 1; SETNX nx 1; SETNX nx 2; GET nx; APPEND nx 23; APPEND ap x; STRLEN nx; STRLEN nokey; SUBSTR nx 0 1
SETRANGE sr 5 hello; GET sr; SETRANGE sr -1 x; SETRANGE sr 536870912 x; SETRANGE nokey 0 ""; GETRANGE sr -3 -1; GETRANGE sr 5 2
INCR n; INCRBY n 10; DECR n; DECRBY n 20; INCRBYFLOAT n 0.5; INCR n; INCRBY n x; SET n 9223372036854775807; INCR n; DECRBY n 0
INCRBYFLOAT f 3.0e3; INCRBYFLOAT f nan; INCRBYFLOAT f 1e5000; DECR nonum; SET nonum abc; INCR nonum; DECRBY n -9223372036854775808
MSET {s}1 a {s}2 b; MGET {s}1 {s}2 {s}3; MSETNX {s}1 x {s}9 y; MSETNX {s}8 x {s}9 y; MGET {s}8 {s}9; MSET {s}1; MSETNX {s}1 a {s}2
MSET {s}1 ohmytext {s}2 mynewtext; LCS {s}1 {s}2; LCS {s}1 {s}2 LEN; LCS {s}1 {s}2 IDX; LCS {s}1 {s}2 IDX MINMATCHLEN 4 WITHMATCHLEN
LCS {s}1 {s}2 LEN IDX; LCS {s}1 nokey{s}; SET a "\xff\x00"; BITCOUNT a; BITCOUNT a 0 0; BITCOUNT a 0 7 BIT; BITCOUNT a 0; BITCOUNT nokey
SETBIT bm 7 1; SETBIT bm 7 0; GETBIT bm 7; GETBIT bm 100; SETBIT bm 7 2; SETBIT bm -1 1; SETBIT bm 4294967296 1; BITPOS a 0; BITPOS a 1 1
BITPOS a 1 0 -1 BIT; BITPOS a 2; BITFIELD bf SET u8 0 200 INCRBY u8 0 100 GET u4 4; BITFIELD bf OVERFLOW FAIL INCRBY u8 0 255
BITFIELD bf OVERFLOW SAT INCRBY i8 #1 300 GET i8 #1; BITFIELD bf GET u64 0; BITFIELD bf; BITFIELD_RO bf GET u8 0; BITFIELD_RO bf SET u8 0 1
SET {s}a abc; SET {s}b abd; BITOP AND {s}d {s}a {s}b; GET {s}d; BITOP NOT {s}d {s}a; GET {s}d; BITOP NOT {s}d {s}a {s}b; BITOP FOO {s}d {s}a
PFADD {h}1 a b c d e; PFADD {h}1 a; PFADD {h}2 f g; PFCOUNT {h}1; PFCOUNT {h}1 {h}2; PFMERGE {h}3 {h}1 {h}2; PFCOUNT {h}3; PFADD {s}a x
PFMERGE {h}3; PFCOUNT {s}a; GET {h}1; PFADD {h}0; PFCOUNT nokey
`

const genericCommands = `
SET {g}a 1; COPY {g}a {g}b; COPY {g}a {g}b; COPY {g}a {g}b REPLACE; COPY {g}x {g}b; COPY {g}a {g}a; COPY {g}a {g}b FOO; !COPY {g}a {g}b DB 99
EXISTS {g}a {g}b {g}c {g}a; TOUCH {g}a {g}c; UNLINK {g}b {g}b; DEL {g}b; DEL nokey; TYPE {g}a; TYPE nokey; RENAME {g}a {g}c; RENAME {g}a {g}c
RENAMENX {g}c {g}d; SET {g}c 1; RENAMENX {g}c {g}d; RENAME {g}c {g}c; RENAMENX {g}nokey {g}d; EXPIRE e 100; SET e 1; EXPIRE e 100; PERSIST e
PERSIST e; EXPIREAT e 99999999999; EXPIRETIME e; PEXPIRETIME e; PEXPIRE e 100000 XX; ~PTTL e; PEXPIREAT e 99999999999000 GT; EXPIREAT e 1 GT
EXPIRE e 100 NX; EXPIRE e 100 NX XX; EXPIRE e x; EXPIRE e 9223372036854775807; EXPIRE e -1; EXISTS e; EXPIRETIME e; PEXPIREAT e 1; TTL e
SET d hello; DUMP d; DUMP nokey; RESTORE d2 0 "\x00\x05hello\n\x00XXXXXXXX"; RESTORE d 0 x; RESTORE d2 -1 x; SET i 12345; OBJECT ENCODING i
OBJECT ENCODING d; OBJECT REFCOUNT d; ~OBJECT IDLETIME d; OBJECT FREQ d; OBJECT ENCODING nokey; OBJECT FOO d; OBJECT ENCODING; object encoding d
RPUSH so 3 1 2; SORT so; SORT so DESC LIMIT 0 2; SORT so ALPHA; SORT_RO so; SORT so BY nosort; RPUSH {q}l b a c; SORT {q}l; SORT {q}l ALPHA
SORT {q}l ALPHA STORE {q}out; LRANGE {q}out 0 -1; SORT {q}l ALPHA LIMIT 1 1 STORE {q}out; LRANGE {q}out 0 -1; SORT_RO {q}l ALPHA STORE {q}x
~MEMORY USAGE d; SORT d; SORT nokey; SORT {q}l LIMIT a b; !SORT {q}l BY {q}w_* GET # GET {q}w_*; SET {q}get 1; SORT {q}l ALPHA STORE {q}s1 STORE {q}s2
EXISTS {q}s1 {q}s2; EVAL "return {KEYS[1],ARGV[1]}" 1 {e}k v; EVAL "return redis.call('SET',KEYS[1],ARGV[1])" 1 {e}k v; GET {e}k
EVAL "return redis.call('GET',KEYS[2])" 2 {e}x {e}k; EVAL_RO "return redis.call('GET',KEYS[1])" 1 {e}k; EVAL_RO "return redis.call('DEL',KEYS[1])" 1 {e}k
EVAL "return {1,2.9,'s',false,{ok='fine'},{1,{2}}}" 1 {e}k; EVAL "return {err='MY error'}" 1 {e}k; EVAL "return redis.error_reply('E')" 1 {e}k
EVAL "redis.setresp(3) return {double=3.5}" 1 {e}k; EVAL "redis.setresp(3) return {map={a=1}}" 1 {e}k; EVAL "return {big_number='1234'}" 1 {e}k
EVAL "redis.setresp(3) return {big_number='12345678901234567890'}" 1 {e}k; EVAL "redis.setresp(3) return {verbatim_string={string='x',format='txt'}}" 1 {e}k
EVAL "redis.setresp(3) return {set={a=true}}" 1 {e}k; EVAL "redis.setresp(3) return {true,false,{}}" 1 {e}k; EVAL "return {{{{{{{{1}}}}}}}}" 1 {e}k
EVAL "nonsense(" 1 {e}k; EVALSHA ffffffffffffffffffffffffffffffffffffffff 1 {e}k; EVALSHA_RO short 1 {e}k; FCALL nofn 1 {e}k; FCALL_RO nofn 1 {e}k
EVALSHA 4e6d8fc8bb01276962cce5371fa795a7763657ae 1 {e}k; ~EVAL "return 1" 2 {e}k; ~EVAL "return 1" -1 {e}k; ~EVAL "return 1" x {e}k
GET d x; GEt; get; nosuch a b; LPUSH d x; GET so; INCR so; HGET d f; SADD d x; ZADD d 1 x; XADD d * f v; APPEND so x; PFADD so x; SETBIT so 0 1
GEOADD go 13.361389 38.115556 Palermo 15.087269 37.502669 Catania; GEOADD go NX CH 13.36 38.1 Palermo; GEOADD go 200 100 x; GEODIST go Palermo Catania
GEODIST go Palermo Catania km; GEODIST go Palermo nobody; GEODIST go Palermo Catania parsec; GEOHASH go Palermo nobody; GEOPOS go Palermo nobody
GEOPOS go; GEOPOS nokey x; GEORADIUS go 15 37 200 km ASC; GEORADIUS go 15 37 200 km WITHCOORD WITHDIST WITHHASH DESC; GEORADIUS_RO go 15 37 200 km COUNT 1 ASC
GEORADIUSBYMEMBER go Palermo 200 km ASC; GEORADIUSBYMEMBER_RO go Palermo 1 km; GEORADIUSBYMEMBER go nobody 1 km; GEORADIUS_RO go 15 37 200 km STORE go
GEOSEARCH go FROMLONLAT 15 37 BYBOX 400 400 km ASC WITHDIST; GEOSEARCH go FROMMEMBER Palermo BYRADIUS 200 km DESC COUNT 1; GEOSEARCH go BYRADIUS 1 km ASC WITHDIST
GEOADD {go}a 1 1 x 2 2 y; GEORADIUS {go}a 1 1 1000 km STORE {go}b; ZCARD {go}b; GEORADIUSBYMEMBER {go}a x 1000 km STOREDIST {go}c; ZRANGE {go}c 0 -1
GEORADIUS {go}a 1 1 500 km STORE {go}s STOREDIST {go}d; ZRANGE {go}d 0 -1 WITHSCORES; GEOSEARCHSTORE {go}e {go}a FROMLONLAT 1 1 BYRADIUS 500 km ASC; ZCARD {go}e
`

const collectionCommands = `
RPUSH l a b c d; LPUSH l z y; LRANGE l 0 -1; LLEN l; LINDEX l 0; LINDEX l -1; LINDEX l 99; LINDEX l x; LSET l 0 Y; LSET l 99 x; LSET nokey 0 x
LINSERT l BEFORE c bc; LINSERT l AFTER nope x; LINSERT l BESIDE c x; LINSERT nokey BEFORE a b; LREM l 0 a; LTRIM l 0 3; LRANGE l 0 -1; LPOS l z
LPOS l z COUNT 0; LPOS l nope; LPOS l z RANK 0; LPOS l z RANK -1 MAXLEN 2; LPUSHX nokey x; LPUSHX l x; RPUSHX l y; RPUSHX nokey x; LPOP l; RPOP l
LPOP l 2; RPOP l 0; LPOP nokey; LPOP nokey 2; LPOP l -1; RPOP l 99; EXISTS l; RPUSH {l}a 1 2 3; RPOPLPUSH {l}a {l}b; RPOPLPUSH {l}none {l}b
LMOVE {l}a {l}b LEFT RIGHT; LMOVE {l}a {l}b UP DOWN; LRANGE {l}b 0 -1; LMPOP 2 {l}none {l}b LEFT; LMPOP 1 {l}b RIGHT COUNT 5; LMPOP 1 {l}none LEFT
~LMPOP 0 {l}b LEFT; ~LMPOP 5 {l}b LEFT; LMPOP 1 {l}a UP; LRANGE {l}a x y; OBJECT ENCODING {l}a; LRANGE nokey 0 -1; LLEN nokey
HSET h f 1 g 2 i "\x00\xff"; HSET h f; HSET h f 1 g; HGET h f; HGET h none; HGET nokey f; HMSET h j 3; HMGET h f none g; HMGET nokey a b; HGETALL h; HKEYS h
HVALS h; HLEN h; HEXISTS h f; HEXISTS h none; HSTRLEN h i; HSETNX h f 9; HSETNX h k 9; HINCRBY h f 10; HINCRBY h i 1; HINCRBYFLOAT h g 0.25
HINCRBYFLOAT h g x; HDEL h f none g; HDEL nokey f; HGETALL nokey; HSCAN h 0; HSCAN h 0 MATCH j* COUNT 10; HSCAN h x; HRANDFIELD nokey; ~HRANDFIELD h
HSET h1 f v; HRANDFIELD h1; HRANDFIELD h1 5 WITHVALUES; HRANDFIELD h1 -2; HRANDFIELD h1 -1 WITHVALUES; HRANDFIELD h1 x; HSCAN nokey 0; OBJECT ENCODING h
SADD i 3 1 2 1; SMEMBERS i; SADD s a b c; ?SMEMBERS s; SCARD s; SCARD nokey; SISMEMBER s a; SISMEMBER s z; SMISMEMBER s a z b; SMISMEMBER nokey a; SREM s a z
SREM nokey x; SPOP nokey; SPOP nokey 2; ~SPOP s; SADD s1 only; SRANDMEMBER s1; SRANDMEMBER s1 3; SRANDMEMBER s1 -2; SRANDMEMBER nokey; SRANDMEMBER nokey 3
SPOP s1 0; SPOP s1 -1; SPOP s1 5; EXISTS s1; SSCAN i 0; SSCAN nokey 0; SSCAN i 0 COUNT 0; SADD {c}1 1 2 3; SADD {c}2 2 3 4; SINTER {c}1 {c}2; SUNION {c}1 {c}2
SDIFF {c}1 {c}2; SINTERSTORE {c}3 {c}1 {c}2; SUNIONSTORE {c}4 {c}1 {c}2; SDIFFSTORE {c}5 {c}1 {c}2; SMEMBERS {c}3; SMEMBERS {c}4; SMEMBERS {c}5; SINTERCARD 2 {c}1 {c}2
SINTERCARD 2 {c}1 {c}2 LIMIT 1; ~SINTERCARD 0 {c}1; ~SINTERCARD 3 {c}1; SINTERCARD 1 {c}1 LIMIT -1; SMOVE {c}1 {c}2 1; SMOVE {c}1 {c}2 99; SMEMBERS {c}2; SINTER nokey
SUNIONSTORE {c}9 {c}nokey; EXISTS {c}9; OBJECT ENCODING {c}2; ?SUNION {c}1 {c}2; SADD big a b c d; ~SSCAN big 0
ZADD z 1 a 2 b 3 c; ZADD z XX CH 5 a; ZADD z NX 9 a; ZADD z GT 1 a; ZADD z INCR 2 a; ZADD z NX INCR 2 a; ZADD z NX XX 1 a; ZADD z 1; ZADD z x a; ZADD z nan a
ZSCORE z a; ZSCORE z none; ZMSCORE z a none b; ZMSCORE nokey a; ZCARD z; ZCOUNT z -inf (5; ZCOUNT z x y; ZRANK z b; ZRANK z none; ZREVRANK z b; ZINCRBY z 0.5 b
ZADD z 3.14 pi 3.140 pi2 inf top -inf bottom; ZRANGE z 0 -1; ZRANGE z 0 -1 WITHSCORES; ZRANGE z 0 1 REV WITHSCORES; ZRANGE z 1 5 BYSCORE LIMIT 0 2; ZRANGE z a b
ZREVRANGE z 0 1 WITHSCORES; ZRANGEBYSCORE z (1 +inf WITHSCORES LIMIT 0 2; ZREVRANGEBYSCORE z +inf 1; ZRANGEBYSCORE z x y; ZADD x 0 a 0 b 0 c 0 d; ZRANGEBYLEX x [b +
ZREVRANGEBYLEX x + [b; ZLEXCOUNT x - (c; ZRANGEBYLEX x b c; ZREMRANGEBYLEX x [d +; ZREMRANGEBYRANK x 0 0; ZREMRANGEBYSCORE x 0 0; EXISTS x; ZREM z a none; ZREM nokey a
ZPOPMIN z; ZPOPMAX z 2; ZPOPMIN nokey; ZPOPMIN z 0; ZPOPMIN z -1; ZPOPMAX z x; ZADD z1 1.5 m; ZRANDMEMBER z1; ZRANDMEMBER z1 -2 WITHSCORES; ZRANDMEMBER z1 2 WITHSCORES
ZRANDMEMBER nokey; ZRANDMEMBER nokey 3; ~ZRANDMEMBER z; ZSCAN z1 0; ZSCAN z1 0 MATCH x*; ZADD {z}1 1 a 2 b; ZADD {z}2 10 b 20 c; ZUNIONSTORE {z}3 2 {z}1 {z}2 WEIGHTS 2 3
ZRANGE {z}3 0 -1 WITHSCORES; ZINTERSTORE {z}4 2 {z}1 {z}2 AGGREGATE MAX; ZRANGE {z}4 0 -1 WITHSCORES; ZDIFFSTORE {z}5 2 {z}1 {z}2; ZRANGE {z}5 0 -1; ZUNION 2 {z}1 {z}2
ZUNION 2 {z}1 {z}2 WITHSCORES; ZINTER 2 {z}1 {z}2 WITHSCORES; ZDIFF 2 {z}1 {z}2 WITHSCORES; ZINTERCARD 2 {z}1 {z}2; ZINTERCARD 2 {z}1 {z}2 LIMIT 0; ZRANGESTORE {z}6 {z}1 0 0
ZRANGESTORE {z}6 {z}1 1 2 BYSCORE LIMIT 0 1; ZRANGE {z}6 0 -1; ~ZUNIONSTORE {z}3 0 {z}1; ~ZUNIONSTORE {z}3 9 {z}1; ~ZUNION x {z}1; ZUNIONSTORE {z}3 1 {z}1 FOO; ZMPOP 1 {z}1 MIN
ZMPOP 2 {z}none {z}2 MAX COUNT 5; ZMPOP 1 {z}none MIN; ~ZMPOP 0 {z}1 MIN; ZMPOP 1 {z}3 MID; ZADD wrong 1; ZINTER 1 {z}none; OBJECT ENCODING z
XADD st 1-1 f v g w; XADD st 1-1 f v; XADD st 2-* f v; XADD st NOMKSTREAM 3-0 f v; XADD none NOMKSTREAM 3-0 f v; XADD st MAXLEN = 10 4-0 f "\x00\r\n"; XADD st 5-0 f; XADD st 0-0 f v
~XADD auto * f v; XLEN st; XLEN nokey; XRANGE st - +; XRANGE st 2 3 COUNT 1; XRANGE st (1-1 +; XREVRANGE st + - COUNT 2; XRANGE st x y; XREAD STREAMS st 0; XREAD COUNT 1 STREAMS st 1-1
XREAD STREAMS st 9-0; XREAD STREAMS {st}a {st}b 0 0; ~XREAD STREAMS st; ~XREAD STREAMS st a b; XREAD COUNT x STREAMS st 0; XREAD STREAMS d 0; XGROUP CREATE st g 0; XGROUP CREATE st g 0
XGROUP CREATE nokey g 0; XGROUP CREATE mk g $ MKSTREAM; XGROUP CREATECONSUMER st g c1; XGROUP CREATECONSUMER st g c1; XGROUP SETID st g 0; XREADGROUP GROUP g c1 COUNT 2 STREAMS st >
XREADGROUP GROUP g c1 STREAMS st 0; XREADGROUP GROUP nog c1 STREAMS st >; XREADGROUP GROUP g streams STREAMS st >; XREADGROUP GROUP g block COUNT 1 NOACK STREAMS st >; XPENDING st g; XPENDING st nog
~XPENDING st g - + 10; ~XPENDING st g IDLE 1 - + 10 c1; XACK st g 1-1; XACK st g 1-1; XACK nokey g 1-1; XCLAIM st g c2 0 2-0; XCLAIM st g c2 0 2-0 JUSTID; XCLAIM st g c2 0 99-0
XAUTOCLAIM st g c3 0 0 COUNT 1 JUSTID; XAUTOCLAIM st g c3 0 0; XAUTOCLAIM st g c3 0 x; ~XINFO CONSUMERS st g; XINFO GROUPS st; XINFO STREAM st; ~XINFO STREAM st FULL; XINFO STREAM nokey
XINFO FOO st; XGROUP DELCONSUMER st g c1; XGROUP DESTROY st g; XGROUP DESTROY st g; XINFO GROUPS st; XDEL st 1-1 9-9; XTRIM st MAXLEN 1; XTRIM st MINID 4; XTRIM st FOO 1; XSETID st 10-0
XSETID st 1-0; XSETID nokey 1-0; XADD st 11-0 f v; XRANGE st - +; XREAD STREAMS; OBJECT ENCODING st; XREADGROUP GROUP g c STREAMS st
`

// statement is one invocation of a corpus.
type statement struct {
	args       []string
	byKind     bool // only the kind of the reply is compared
	anyOrder   bool
	notCluster bool
}

// statements reads a corpus.
func statements(t *testing.T, corpus string) []statement {
	t.Helper()
	var list []statement
	for line := range strings.Lines(corpus) {
		for line = strings.TrimSpace(line); line != ""; {
			var s statement
			s.byKind, s.anyOrder, s.notCluster = line[0] == '~', line[0] == '?', line[0] == '!'
			s.args, line = words(t, strings.TrimLeft(line, "~?!"))
			list = append(list, s)
		}
	}
	return list
}

// words reads one statement and returns what follows it.
func words(t *testing.T, line string) (args []string, rest string) {
	t.Helper()
	for {
		line = strings.TrimLeft(line, " ")
		switch {
		case line == "":
			return args, ""
		case line[0] == ';':
			return args, strings.TrimLeft(line[1:], " ")
		case line[0] == '"':
			quoted, err := strconv.QuotedPrefix(line)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			word, err := strconv.Unquote(quoted)
			if err != nil {
				t.Fatalf("%s: %v", quoted, err)
			}
			args, line = append(args, word), line[len(quoted):]
		default:
			n := strings.IndexAny(line, " ;")
			if n < 0 {
				n = len(line)
			}
			args, line = append(args, line[:n]), line[n:]
		}
	}
}
