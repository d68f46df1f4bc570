package proxy

import (
	"testing"

	"sluice/internal/testbed"
)

// A blocking command answers what it answers on a server: at once when there is data, and when its time is over.
func TestBlockingCommandsAnswerAsRedisDoes(t *testing.T) {
	direct := testbed.Redis(t)
	list := statements(t, `
BLPOP {b}l 0.01; BRPOP {b}l {b}m 0.01; BLMOVE {b}l {b}m LEFT RIGHT 0.01; BLMPOP 0.01 2 {b}l {b}m LEFT; BRPOPLPUSH {b}l {b}m 0.01; BZPOPMIN {b}z 0.01; BZPOPMAX {b}z 0.01; BZMPOP 0.01 1 {b}z MIN
BLPOP {b}l -1; BLPOP {b}l x; BLPOP {b}l; BLPOP; BLPOP {b}l 1e400; BLPOP {b}l nan; BLMPOP -1 1 {b}l LEFT; BLMPOP 0.01 0 {b}l LEFT; BLMPOP 0.01 1 {b}l UP; SET {b}s x; BLPOP {b}s 0; BLPOP {b}s {b}l 0.01; BZPOPMIN {b}s 0
RPUSH {b}l 1 2 3 4 5 6; BLPOP {b}l 0; BRPOP {b}x {b}l 0; BLMOVE {b}l {b}m LEFT RIGHT 0; BLMPOP 0 1 {b}l LEFT COUNT 2; BRPOPLPUSH {b}l {b}m 0; EXISTS {b}l; LRANGE {b}m 0 -1; ZADD {b}z 1 a 2.5 b; BZPOPMIN {b}z 0; BZPOPMAX {b}z 0
XADD {b}x 1-1 f v; XREAD BLOCK 0 STREAMS {b}x 0; XREAD BLOCK 10 STREAMS {b}x $; XREAD BLOCK 10 COUNT 1 STREAMS {b}x {b}y $ $; XREAD BLOCK x STREAMS {b}x $; XREAD BLOCK -1 STREAMS {b}x $; XREAD BLOCK 10 STREAMS {b}s $
XREAD BLOCK 10 STREAMS {b}x 1-1; XREAD BLOCK 10 STREAMS {b}x; XGROUP CREATE {b}x g $; XREADGROUP GROUP g c BLOCK 10 STREAMS {b}x >; XREADGROUP GROUP g c BLOCK 0 STREAMS {b}x 0; XREADGROUP GROUP nog c BLOCK 10 STREAMS {b}x >
WAIT 0 0; WAIT 0 10; WAIT x 0; WAIT 0 x; WAIT 0 -1; WAIT 1 10; CLIENT UNBLOCK 99999999; CLIENT UNBLOCK x; CLIENT UNBLOCK 1 foo; GET {b}s
`)
	onEachTopology(t, func(t *testing.T, top *topology) {
		for _, proto := range []string{"2", "3"} {
			flush(t, direct)
			want := runPipelined(t, direct.Addr(), proto, list)
			flush(t, top.nodes...)
			compare(t, "RESP"+proto+", one by one", list, runOneByOne(t, top.addr, proto, list), want)
			flush(t, top.nodes...)
			compare(t, "RESP"+proto+", in a pipeline", list, runPipelined(t, top.addr, proto, list), want)
		}
	})
}
