package proxy

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"time"

	"sluice/proxy/resp"
)

// The CLIENT family, as far as it concerns the connection to Sluice itself. Nothing of it reaches a server:
// backend connections are shared.

func cmdClientSetName(c *client, args [][]byte) bool {
	if !validName(args[2]) {
		c.replyError(errClientName)
		return true
	}
	c.name = string(args[2])
	c.replyOK()
	return true
}

func cmdClientGetName(c *client, _ [][]byte) bool {
	c.answer(func(dst []byte) []byte {
		if c.name == "" {
			return resp.AppendNull(dst, c.resp3())
		}
		return resp.AppendBulk(dst, c.name)
	})
	return true
}

func cmdClientSetInfo(c *client, args [][]byte) bool {
	attribute := strings.ToLower(string(args[2]))
	if refusal, known := c.wish(attribute, strings.ToLower(string(args[3]))); known && refusal != "" {
		c.replyError(refusal)
		return true
	} else if known {
		c.replyOK()
		return true
	}
	if attribute != "lib-name" && attribute != "lib-ver" {
		c.replyError(fmt.Sprintf("ERR Unrecognized option '%s'", args[2]))
		return true
	}
	if !validName(args[3]) {
		c.replyError(fmt.Sprintf("ERR %s cannot contain spaces, newlines or special characters.", attribute))
		return true
	}
	if attribute == "lib-name" {
		c.libName = string(args[3])
	} else {
		c.libVer = string(args[3])
	}
	c.replyOK()
	return true
}

func cmdClientID(c *client, _ [][]byte) bool {
	c.answer(func(dst []byte) []byte { return resp.AppendInt(dst, int64(c.id)) })
	return true
}

func cmdClientInfo(c *client, _ [][]byte) bool {
	c.answer(func(dst []byte) []byte {
		return resp.AppendVerbatim(dst, c.describe(), c.resp3())
	})
	return true
}

func cmdClientNoEvict(c *client, args [][]byte) bool { return c.toggle(args, &c.noEvict) }

func cmdClientNoTouch(c *client, args [][]byte) bool { return c.toggle(args, &c.noTouch) }

func (c *client) toggle(args [][]byte, flag *bool) bool {
	switch {
	case bytes.EqualFold(args[2], []byte("on")):
		*flag = true
	case bytes.EqualFold(args[2], []byte("off")):
		*flag = false
	default:
		c.replyError(errSyntax)
		return true
	}
	c.replyOK()
	return true
}

// cmdClientTracking accepts what costs nothing to keep: OFF, and ON OPTIN, which promises invalidations only
// for reads announced with CLIENT CACHING YES. Those are refused, so no client ever waits for an
// invalidation that won't come; and clients that ask for OPTIN when they connect (rueidis) connect.
func cmdClientTracking(c *client, args [][]byte) bool {
	off := len(args) == 3 && bytes.EqualFold(args[2], []byte("off"))
	optIn := len(args) == 4 && bytes.EqualFold(args[2], []byte("on")) && bytes.EqualFold(args[3], []byte("optin"))
	if off || optIn && c.resp3() {
		c.replyOK()
		return true
	}
	c.replyError("ERR client-side caching is not supported through Sluice: CLIENT TRACKING takes only OFF and, in RESP3, ON OPTIN")
	return true
}

// cmdClientCaching refuses. A client that sends it in one go with what it wants to keep (rueidis: CACHING YES, MULTI, PTTL,
// GET, EXEC) looks at the last answer alone, so that has to fail as well: see cmdMulti.
func cmdClientCaching(c *client, _ [][]byte) bool {
	c.replyError(errNoCaching)
	c.setMode(modeUncached, true)
	return true
}

// cmdClientList asks every loop for its clients.
func cmdClientList(c *client, args [][]byte) bool {
	if len(args) > 2 {
		c.replyError("ERR CLIENT LIST through Sluice takes no filters")
		return true
	}
	var mu sync.Mutex
	var list strings.Builder
	c.gather(func(l *loop) {
		mu.Lock()
		defer mu.Unlock()
		for _, other := range l.clients {
			list.WriteString(other.describe())
		}
	}, func(dst []byte) []byte { return resp.AppendVerbatim(dst, list.String(), c.resp3()) })
	return true
}

// describe is the client's line of CLIENT LIST, in Redis' form as far as the fields mean something here.
func (c *client) describe() string {
	waiting := 0
	if c.conn != nil {
		waiting = c.conn.OutboundBuffered()
	}
	return fmt.Sprintf("id=%d addr=%s laddr=%s name=%s age=%d db=%d pool=%s qbuf=%d inflight=%d obl=%d omem=%d user=%s resp=%d lib-name=%s lib-ver=%s\n",
		c.id, c.addr, c.laddr, c.name, int(time.Since(c.created).Seconds()), c.db, c.pool.Name, len(c.in)-c.inOff,
		c.pipe.len(), len(c.out), waiting+c.held, c.user, c.proto, c.libName, c.libVer)
}

// gather runs visit on every loop, then answers with what build appends. The reply keeps its place.
func (c *client) gather(visit func(l *loop), build func(dst []byte) []byte) {
	seq := c.begin(nil, anySlot)
	origin := c.loop
	go func() {
		c.loop.server.onEachLoop(c.loop.server.ctx, visit)
		origin.execute(func() {
			if c.closed {
				return
			}
			origin.scratch = build(origin.scratch[:0])
			c.deliver(seq, origin.scratch, true, true)
		})
	}()
}

// validName reports whether a client name or library name has only printable characters and no blank, as
// Redis asks for so that CLIENT LIST stays readable.
func validName(name []byte) bool {
	for _, b := range name {
		if b < '!' || b > '~' {
			return false
		}
	}
	return true
}
