package proxy

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"sluice/proxy/resp"
)

// The CLIENT family, as far as it concerns the connection to Sluice itself. Nothing of it reaches a server:
// backend connections are shared.

func cmdClientSetName(c *client, args [][]byte) stall {
	if !validName(args[2]) {
		c.replyError(errClientName)
		return stallNone
	}
	c.name = string(args[2])
	c.replyOK()
	return stallNone
}

func cmdClientGetName(c *client, _ [][]byte) stall {
	c.answer(func(dst []byte) []byte {
		if c.name == "" {
			return resp.AppendNull(dst, c.resp3())
		}
		return resp.AppendBulk(dst, c.name)
	})
	return stallNone
}

func cmdClientSetInfo(c *client, args [][]byte) stall {
	attribute := strings.ToLower(string(args[2]))
	if refusal, known := c.wish(attribute, strings.ToLower(string(args[3]))); known && refusal != "" {
		c.replyError(refusal)
		return stallNone
	} else if known {
		c.replyOK()
		return stallNone
	}
	if attribute != "lib-name" && attribute != "lib-ver" {
		c.replyError(fmt.Sprintf("ERR Unrecognized option '%s'", args[2]))
		return stallNone
	}
	if !validName(args[3]) {
		c.replyError(fmt.Sprintf("ERR %s cannot contain spaces, newlines or special characters.", attribute))
		return stallNone
	}
	if attribute == "lib-name" {
		c.libName = string(args[3])
	} else {
		c.libVer = string(args[3])
	}
	c.replyOK()
	return stallNone
}

func cmdClientID(c *client, _ [][]byte) stall {
	c.answer(func(dst []byte) []byte { return resp.AppendInt(dst, int64(c.id)) })
	return stallNone
}

func cmdClientNoEvict(c *client, args [][]byte) stall { return c.toggle(args, &c.noEvict) }

func cmdClientNoTouch(c *client, args [][]byte) stall { return c.toggle(args, &c.noTouch) }

func (c *client) toggle(args [][]byte, flag *bool) stall {
	switch {
	case bytes.EqualFold(args[2], []byte("on")):
		*flag = true
	case bytes.EqualFold(args[2], []byte("off")):
		*flag = false
	default:
		c.replyError(errSyntax)
		return stallNone
	}
	c.replyOK()
	return stallNone
}

// cmdClientTracking accepts what costs nothing to keep: OFF, and ON OPTIN, which promises invalidations only
// for reads announced with CLIENT CACHING YES. Those are refused, so no client ever waits for an
// invalidation that won't come; and clients that ask for OPTIN when they connect (rueidis) connect.
func cmdClientTracking(c *client, args [][]byte) stall {
	off := len(args) == 3 && bytes.EqualFold(args[2], []byte("off"))
	optIn := len(args) == 4 && bytes.EqualFold(args[2], []byte("on")) && bytes.EqualFold(args[3], []byte("optin"))
	if off || optIn && c.resp3() {
		c.optIn = optIn
		c.replyOK()
		return stallNone
	}
	c.replyError("ERR client-side caching is not supported through Sluice: CLIENT TRACKING takes only OFF and, in RESP3, ON OPTIN")
	return stallNone
}

// cmdClientTrackingInfo says what cmdClientTracking has accepted.
func cmdClientTrackingInfo(c *client, _ [][]byte) stall {
	flags, redirect := []string{"off"}, int64(-1)
	if c.optIn {
		flags, redirect = []string{"on", "optin"}, 0
	}
	c.answer(func(dst []byte) []byte {
		dst = resp.AppendMap(dst, 3, c.resp3())
		dst = resp.AppendSet(resp.AppendBulk(dst, "flags"), len(flags), c.resp3())
		for _, f := range flags {
			dst = resp.AppendBulk(dst, f)
		}
		dst = resp.AppendInt(resp.AppendBulk(dst, "redirect"), redirect)
		return resp.AppendArray(resp.AppendBulk(dst, "prefixes"), 0)
	})
	return stallNone
}

func cmdClientGetRedir(c *client, _ [][]byte) stall {
	redirect := int64(-1)
	if c.optIn {
		redirect = 0
	}
	c.answer(func(dst []byte) []byte { return resp.AppendInt(dst, redirect) })
	return stallNone
}

// cmdClientCaching refuses. A client that sends it in one go with what it wants to keep (rueidis: CACHING YES,
// MULTI, PTTL, GET, EXEC) looks at the last answer alone, so that has to fail as well: see cmdMulti.
func cmdClientCaching(c *client, _ [][]byte) stall {
	c.replyError(errNoCaching)
	c.setMode(modeUncached, true)
	return stallNone
}

// gather runs visit on every loop, then answers with what build appends. The reply keeps its place. What is behind it
// is not parsed before that: a pipeline of these would keep all loops busy.
func (c *client) gather(visit func(l *loop), build func(dst []byte) []byte) {
	c.answerLater(func(ctx context.Context) func(dst []byte) []byte {
		c.loop.server.onEachLoop(ctx, visit)
		return build
	})
}

// answerLater runs work on no loop, and answers with what the function that it returns appends. That runs on the loop
// of the client, and is to be short; there is none when the server stops. The reply keeps its place, and what is
// behind it is not parsed before that.
func (c *client) answerLater(work func(context.Context) (build func(dst []byte) []byte)) {
	c.alone = true
	seq := c.begin(nil, anySlot)
	origin := c.loop
	go func() {
		build := work(origin.server.ctx)
		origin.execute(func() {
			if c.closed || build == nil {
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
