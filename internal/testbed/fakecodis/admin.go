package fakecodis

import (
	"context"
	"strconv"
	"strings"

	"sluice/internal/testbed/fake"
)

// auth is AUTH [user] password.
func auth(_ context.Context, c *client, args []string) error {
	password := *c.s.password.Load()
	switch {
	case password == "":
		c.Write("-ERR Client sent AUTH, but no password is set\r\n")
	case args[len(args)-1] == password:
		c.authed = true
		c.Write(fake.OK)
	case c.s.kind == CodisServer:
		c.Write("-ERR invalid password\r\n")
	default:
		c.Write("-WRONGPASS invalid username-password pair or user is disabled.\r\n")
	}
	return nil
}

// hello answers a flat array, whatever version is asked for, and stays with RESP2.
func (p *pika) hello(_ context.Context, c *client, _ []string) error {
	role := "master"
	if p.s.Faults.readonly.Load() {
		role = "slave"
	}
	c.Write(fake.Array(fake.Bulk("server"), fake.Bulk("redis"), fake.Bulk("proto"), fake.Int(2),
		fake.Bulk("mode"), fake.Bulk("classic"), fake.Bulk("role"), fake.Bulk(role)))
	return nil
}

func (p *pika) selectDB(_ context.Context, c *client, args []string) error {
	if args[0] != "0" {
		c.Write("-ERR invalid DB index for 'select DB index is out of range'\r\n")
		return nil
	}
	c.Write(fake.OK)
	return nil
}

// config makes CONFIG GET and SET of some parameters; SET of any other answers OK and does nothing.
func config(values map[string]string) func(context.Context, *client, []string) error {
	return func(_ context.Context, c *client, args []string) error {
		switch sub := strings.ToLower(args[0]); {
		case sub == "get" && len(args) == 2:
			if v, ok := values[strings.ToLower(args[1])]; ok {
				c.Write(fake.Bulks(strings.ToLower(args[1]), v))
				return nil
			}
			c.Write(replyEmptyArray)
		case sub == "set" && len(args) == 3, sub == "rewrite", sub == "resetstat":
			c.Write(fake.OK)
		default:
			c.Write("-ERR Wrong number of arguments for CONFIG " + sub + "\r\n")
		}
		return nil
	}
}

// config is CONFIG of Pika: slotmigrate can be set.
func (p *pika) config(ctx context.Context, c *client, args []string) error {
	if len(args) == 3 && strings.EqualFold(args[0], "set") && strings.EqualFold(args[1], "slotmigrate") {
		switch strings.ToLower(args[2]) {
		case "yes":
			p.slotmigrate.Store(true)
		case "no":
			p.slotmigrate.Store(false)
		default:
			c.Write("-ERR Invalid argument '" + args[2] + "' for CONFIG SET 'slotmigrate'\r\n")
			return nil
		}
		c.Write(fake.OK)
		return nil
	}
	slotmigrate := "no"
	if p.slotmigrate.Load() {
		slotmigrate = "yes"
	}
	return config(map[string]string{
		"slotmigrate": slotmigrate, "default-slot-num": strconv.Itoa(p.s.slots), "maxmemory": "16777216",
		"maxclients": "5000", "instance-mode": "classic", "databases": "1", "slotmigrate-thread-num": "1",
		"thread-migrate-keys-num": strconv.Itoa(perSend), "thread-pool-size": strconv.Itoa(cap(p.s.turns)),
	})(ctx, c, args)
}
