package proxy

import (
	"fmt"
	"math"

	"sluice/proxy/command"
	"sluice/proxy/resp"
)

const slowlogDefault = 10 // entries of SLOWLOG GET

// cmdSlowlogGet lists the slow requests of the client's pool, in the six fields of Redis that clients know how to read.
// What Sluice knows beyond them is shown by the admin server.
func cmdSlowlogGet(c *client, args [][]byte) stall {
	n := int64(slowlogDefault)
	if len(args) > 3 {
		c.replyError(fmt.Sprintf("ERR unknown subcommand or wrong number of arguments for '%.128s'. Try SLOWLOG HELP.", args[1]))
		return stallNone
	}
	if len(args) == 3 {
		given, ok := command.Integer(args[2])
		if !ok || given < -1 {
			c.replyError("ERR count should be greater than or equal to -1")
			return stallNone
		}
		if n = given; n == -1 {
			n = math.MaxInt
		}
	}
	list := c.loop.server.slow.newest(c.pool.Name, int(min(n, math.MaxInt)))
	c.answer(func(dst []byte) []byte {
		dst = resp.AppendArray(dst, len(list))
		for _, r := range list {
			dst = resp.AppendArray(dst, 6)
			dst = resp.AppendInt(dst, r.ID)
			dst = resp.AppendInt(dst, r.Time.Unix())
			dst = resp.AppendInt(dst, r.Total.Microseconds())
			dst = resp.AppendArray(dst, len(r.Args))
			for _, arg := range r.Args {
				dst = resp.AppendBulk(dst, arg)
			}
			dst = resp.AppendBulk(resp.AppendBulk(dst, r.Client), r.Name)
		}
		return dst
	})
	return stallNone
}

func cmdSlowlogLen(c *client, _ [][]byte) stall {
	n := len(c.loop.server.slow.newest(c.pool.Name, math.MaxInt))
	c.answer(func(dst []byte) []byte { return resp.AppendInt(dst, int64(n)) })
	return stallNone
}

func cmdSlowlogReset(c *client, _ [][]byte) stall {
	c.loop.server.slow.reset(c.pool.Name)
	c.replyOK()
	return stallNone
}
