package proxy

import (
	"testing"

	"sluice/internal/testbed/fakecodis"
	"sluice/router"
)

// A key that is not at the source in one database may be there in another.
func TestMigratedKeysAreOfOneDatabase(t *testing.T) {
	x := startKeyMigration(t, fakecodis.CodisServer, router.SemiAsync, never)
	key := x.keys(1)[0]
	source := dial(x, "tcp", x.source.Addr())
	source.want("+OK\r\n", "SELECT", "3")
	source.want("+OK\r\n", "SET", key, "in 3")
	c := x.p.dial(x)
	c.want("$-1\r\n", "GET", key)
	c.want("+OK\r\n", "SELECT", "3")
	c.want(bulkReply("in 3"), "GET", key)
}
