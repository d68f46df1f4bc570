package fakecodis

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"sluice/internal/testbed/fake"
)

// slotsInfo is SLOTSINFO [start [count]]: the slots of the database that have keys, with how many.
func (k *codis) slotsInfo(_ context.Context, c *client, args []string) error {
	start, count := 0, k.s.slots
	var reply string
	switch len(args) {
	case 0:
	case 1, 2:
		if start, reply = k.slotNumber(args[0]); reply != "" {
			break
		}
		if len(args) == 2 {
			if count, reply = slotCount(args[1]); reply != "" {
				break
			}
		}
	default:
		reply = wrongArity("slotsinfo")
	}
	if reply != "" {
		c.Write(reply)
		return nil
	}
	var found []string
	for slot := start; slot < k.s.slots && slot-start < count; slot++ {
		if n := k.index.size(c.db, slot); n > 0 {
			found = append(found, pairReply(slot, n))
		}
	}
	c.Write(fake.Array(found...))
	return nil
}

// slotNumber returns a slot, or the error reply for what is none.
func (k *codis) slotNumber(arg string) (slot int, reply string) {
	n, ok := integer(arg)
	if !ok {
		return 0, replyNotInteger
	}
	if n < 0 || n >= int64(k.s.slots) {
		return 0, fmt.Sprintf("-ERR invalid slot number = %d\r\n", n)
	}
	return int(n), ""
}

func slotCount(arg string) (count int, reply string) {
	n, ok := integer(arg)
	if !ok {
		return 0, replyNotInteger
	}
	if n < 0 {
		return 0, fmt.Sprintf("-ERR invalid slot count = %d\r\n", n)
	}
	return int(n), ""
}

// slotsScan is SLOTSSCAN slot cursor [COUNT n]. The cursor is a place in the sorted keys.
func (k *codis) slotsScan(_ context.Context, c *client, args []string) error {
	slot, reply := k.slotNumber(args[0])
	if reply != "" {
		c.Write(reply)
		return nil
	}
	cursor, ok := integer(args[1])
	if !ok || cursor < 0 {
		c.Write("-ERR invalid cursor\r\n")
		return nil
	}
	count := int64(10)
	switch {
	case len(args) == 2:
	case len(args) == 4 && strings.EqualFold(args[2], "count"):
		if count, ok = integer(args[3]); !ok {
			c.Write(replyNotInteger)
			return nil
		}
	default:
		c.Write(replySyntax)
		return nil
	}
	c.Write(scanReply(k.index.keys(c.db, slot), cursor, count))
	return nil
}

// scanReply answers a scan whose cursor is a place in the sorted elements.
func scanReply(elements []string, cursor, count int64) string {
	n := int64(len(elements))
	begin := min(max(cursor, 0), n)
	end := min(begin+min(max(count, 1), n), n)
	next := end
	if end == n {
		next = 0
	}
	return fake.Array(fake.Bulk(strconv.FormatInt(next, 10)), fake.Bulks(elements[begin:end]...))
}

// slotsDel deletes the keys of slots and answers each with what it then has.
func (k *codis) slotsDel(_ context.Context, c *client, args []string) error {
	slots := make([]int, len(args))
	for i, arg := range args {
		slot, reply := k.slotNumber(arg)
		if reply != "" {
			c.Write(reply)
			return nil
		}
		slots[i] = slot
	}
	replies := make([]string, len(slots))
	for i, slot := range slots {
		for _, key := range k.index.keys(c.db, slot) {
			k.s.run(c.db, "DEL", key)
		}
		replies[i] = pairReply(slot, k.index.size(c.db, slot))
	}
	c.Write(fake.Array(replies...))
	return nil
}

// slotsHashKey is SLOTSHASHKEY key...: the slot of each.
func slotsHashKey(_ context.Context, c *client, args []string) error {
	replies := make([]string, len(args))
	for i, key := range args {
		replies[i] = fake.Int(c.s.SlotOf(key))
	}
	c.Write(fake.Array(replies...))
	return nil
}
