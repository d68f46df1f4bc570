package fakecodis

import (
	"context"
	"fmt"
	"path"
	"strings"
	"time"

	"sluice/internal/testbed/fake"
)

// slotsInfo is SLOTSINFO [start [count]]: the slots that have members, with how many.
func (p *pika) slotsInfo(_ context.Context, c *client, args []string) error {
	start, count := 0, 1024
	var reply string
	if len(args) > 2 {
		reply = wrongArity("slotsinfo")
	}
	if len(args) > 0 && reply == "" {
		n, ok := integer(args[0])
		switch {
		case !ok:
			reply = replyNotInteger
		case n < 0 || n >= 1024:
			reply = "-ERR invalid slot begin = " + args[0] + "\r\n"
		}
		start = int(n)
	}
	if len(args) > 1 && reply == "" {
		count, reply = slotCount(args[1])
	}
	if reply != "" {
		c.Write(reply)
		return nil
	}
	var found []string
	for slot := start; slot < min(p.s.slots, 1024) && slot-start < count; slot++ {
		if n := p.index.size(slot); n > 0 {
			found = append(found, pairReply(slot, n))
		}
	}
	c.Write(fake.Array(found...))
	return nil
}

// slotsScan is SLOTSSCAN slot cursor [MATCH pattern] [COUNT n] over the members. What is no number in its place
// kills the server.
func (p *pika) slotsScan(_ context.Context, c *client, args []string) error {
	slot, ok := integer(args[0])
	if !ok {
		p.s.host.Die()
		return fake.ErrDead
	}
	cursor, ok := integer(args[1])
	if !ok || slot < 0 || slot >= int64(p.s.slots) {
		c.Write(wrongArity("slotsscan"))
		return nil
	}
	pattern, count := "*", int64(10)
	for i := 2; i < len(args); i += 2 {
		if i+1 == len(args) {
			c.Write(replySyntax)
			return nil
		}
		switch strings.ToLower(args[i]) {
		case "match":
			pattern = args[i+1]
		case "count":
			if count, ok = integer(args[i+1]); !ok {
				c.Write(replyNotInteger)
				return nil
			}
		default:
			c.Write(replySyntax)
			return nil
		}
	}
	if count < 0 {
		c.Write(replySyntax)
		return nil
	}
	members := p.index.members(int(slot))
	if pattern != "*" {
		members = matching(members, pattern)
	}
	c.Write(scanReply(members, cursor, count))
	return nil
}

func matching(members []string, pattern string) []string {
	var found []string
	for _, m := range members {
		if ok, _ := path.Match(pattern, m); ok {
			found = append(found, m)
		}
	}
	return found
}

// slotsDel deletes the sets of slots, not their keys, and answers how many sets there were.
func (p *pika) slotsDel(_ context.Context, c *client, args []string) error {
	deleted := 0
	for _, arg := range args {
		if p.s.data.DB(0).Del("_internal:slotkey:4migrate:" + arg) {
			deleted++
		}
	}
	c.Write(fake.Int(deleted))
	return nil
}

// slotsReload puts all keys into the index. Pika does that in the background; the fake is done when it answers.
func (p *pika) slotsReload(_ context.Context, c *client, _ []string) error {
	for _, key := range p.s.Keys() {
		p.index.refresh(key, p.index.reloadLetter)
	}
	c.Write("+" + time.Now().UTC().Format("20060102150405") + " : 0\r\n")
	return nil
}

// slotsCleanup deletes the keys of slots that are in the index, and answers the slots.
func (p *pika) slotsCleanup(_ context.Context, c *client, args []string) error {
	slots := make([]int, len(args))
	replies := make([]string, len(args))
	for i, arg := range args {
		n, ok := integer(arg)
		if !ok || n < 0 {
			c.Write(replyNotInteger)
			return nil
		}
		slots[i], replies[i] = int(n), fake.Int(int(n))
	}
	for _, slot := range slots {
		if slot >= p.s.slots {
			continue
		}
		for _, member := range p.index.members(slot) {
			p.repl.logged(func() { p.s.data.DB(0).Del(member[1:]) }, "DEL", member[1:])
			p.cache.written(member[1:])
			p.index.removeBoth(member)
		}
	}
	c.Write(fake.Array(replies...))
	return nil
}

// dbsize answers twice when slotmigrate is on and all slots have keys, and with an error when one has none.
func (p *pika) dbsize(_ context.Context, c *client, _ []string) error {
	n := len(p.s.Keys())
	if !p.slotmigrate.Load() {
		c.Write(fake.Int(n))
		return nil
	}
	for slot := range p.s.slots {
		if p.index.size(slot) == 0 {
			c.Write("-ERR Get dbsize error\r\n")
			return nil
		}
	}
	c.Write(fmt.Sprintf(":%d\r\n:0\r\n", n)) // The second number is that of the last INFO keyspace 1: none.
	return nil
}
