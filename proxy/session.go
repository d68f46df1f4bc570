package proxy

import (
	"fmt"
	"strings"
	"time"

	"sluice/proxy/acl"
	"sluice/proxy/command"
	"sluice/proxy/local"
	"sluice/proxy/resp"
)

// session is what a client has said about itself. Owned by the client's event loop.
type session struct {
	// Looked at for each request.
	proto   int // RESP version of replies, 2 or 3
	db      int
	mode    modes
	replies replyMode
	reads   *ReadRules // nil: all reads go to the master

	rights *acl.Rules // nil: everything; modeRestricted is on while it is set
	user   string
	local.Identity
	wishes      readWishes // what the client has asked for itself
	addr, laddr string
	created     time.Time
}

// newSession is the state of a fresh connection to p.
func newSession(p *Pool, addr, laddr string) session {
	s := session{proto: 2, addr: addr, laddr: laddr, created: time.Now(), user: "default"}
	if len(p.Settings().Users) > 0 {
		s.mode = modeUnauthenticated
	}
	return s
}

func (c *client) replyOK() { c.reply(okReply) }

var okReply = []byte("+OK\r\n")

// resp3 reports whether the client speaks RESP3.
func (c *client) resp3() bool { return c.proto == 3 }

// answer replies with what build appends.
func (c *client) answer(build func(dst []byte) []byte) {
	l := c.loop
	l.scratch = build(l.scratch[:0])
	c.reply(l.scratch)
}

func cmdAuth(c *client, args [][]byte) stall {
	if len(args) > 3 {
		c.replyError(local.ErrSyntax)
		return stallNone
	}
	users := c.pool.Settings().Users
	user, password := "default", args[len(args)-1]
	if len(args) == 3 {
		user = string(args[1])
	}
	if len(users) == 0 && len(args) == 2 {
		c.replyError(errNoPassword)
		return stallNone
	}
	if !c.login(user, password) {
		c.replyError(errWrongPass)
		return stallNone
	}
	c.replyOK()
	return stallNone
}

// login checks a password and takes the user's identity over. In a pool without users the
// default user needs no password, as in Redis.
func (c *client) login(user string, password []byte) bool {
	users := c.pool.Settings().Users
	found := authenticate(users, user, password)
	if found == nil && (len(users) > 0 || user != "default") {
		c.loop.stats.AuthFailures++
		return false
	}
	c.become(user, found)
	return true
}

// cmdHello switches the protocol version. It waits until nothing is in flight: the requests before it use
// the backend connections of the other version, and could be overtaken by those after it.
func cmdHello(c *client, args [][]byte) stall {
	if !c.pipe.empty() || !c.awaitSettled() {
		return stallDrain
	}
	proto := c.proto
	if len(args) > 1 {
		n, ok := command.Integer(args[1])
		if !ok {
			c.replyError(errProtoNumber)
			return stallNone
		}
		if n < 2 || n > 3 || n == 3 && !c.pool.speaksRESP3() {
			c.replyError(errNoProto)
			return stallNone
		}
		proto = int(n)
	}
	o, refusal := parseHello(args)
	switch {
	case refusal != "":
		c.replyError(refusal)
		return stallNone
	case o.auth && !c.login(o.user, o.password):
		c.replyError(errWrongPass)
		return stallNone
	case c.is(modeUnauthenticated):
		c.replyError(errHelloAuth)
		return stallNone
	}
	if o.named {
		c.Name = o.name
	}
	if c.watch != nil && c.proto != proto {
		c.watch.lost = true // Its connection speaks the other version.
	}
	c.proto = proto
	c.setMode(modeSubscribed, proto == 2 && c.subscriptions.Any())
	c.answer(func(dst []byte) []byte {
		resp3 := c.resp3()
		dst = resp.AppendMap(dst, 7, resp3)
		dst = resp.AppendBulk(resp.AppendBulk(dst, "server"), "redis")
		dst = resp.AppendBulk(resp.AppendBulk(dst, "version"), c.pool.serverVersion())
		dst = resp.AppendInt(resp.AppendBulk(dst, "proto"), int64(c.proto))
		dst = resp.AppendInt(resp.AppendBulk(dst, "id"), int64(c.id))
		dst = resp.AppendBulk(resp.AppendBulk(dst, "mode"), c.serverMode())
		dst = resp.AppendBulk(resp.AppendBulk(dst, "role"), "master")
		return resp.AppendArray(resp.AppendBulk(dst, "modules"), 0)
	})
	return stallNone
}

type helloOptions struct {
	auth     bool
	user     string
	password []byte
	named    bool
	name     string
}

func parseHello(args [][]byte) (o helloOptions, refusal string) {
	for i := 2; i < len(args); {
		left := len(args) - i - 1
		switch option := strings.ToLower(string(args[i])); {
		case option == "auth" && left >= 2:
			o.auth, o.user, o.password = true, string(args[i+1]), args[i+2]
			i += 3
		case option == "setname" && left >= 1:
			o.named, o.name = true, string(args[i+1])
			if !local.ValidName(args[i+1]) {
				return o, local.ErrClientName
			}
			i += 2
		default:
			return o, fmt.Sprintf("ERR Syntax error in HELLO option '%s'", args[i])
		}
	}
	return o, ""
}

// cmdReset makes the connection like a new one. It waits like HELLO.
func cmdReset(c *client, _ [][]byte) stall {
	if !c.pipe.empty() || !c.awaitSettled() {
		return stallDrain
	}
	c.endMonitor()
	c.endQueueing()
	c.unwatch()
	c.leaveTopics()
	old := c.session
	c.session = newSession(c.pool, c.addr, c.laddr)
	c.created, c.LibName, c.LibVer = old.created, old.LibName, old.LibVer // They are about the program at the other end.
	c.replies.skipping = old.replies.skipping                             // RESET itself is not answered then, as in Redis.
	c.setMode(modeMuted, old.replies.skipping)
	c.setReads()
	c.observe()
	c.reply([]byte("+RESET\r\n"))
	return stallNone
}

func cmdQuit(c *client, _ [][]byte) stall {
	c.replyOK()
	c.finish()
	return stallNone
}

// cmdSelect changes the database, and so the backend connections. A change waits until nothing is in flight,
// because commands such as COPY ... DB reach into other databases and must not be overtaken.
func cmdSelect(c *client, args [][]byte) stall {
	n, ok := command.Integer(args[1])
	switch {
	case !ok:
		c.replyError(errNotInteger)
	case (c.pool.Model.Cluster() || c.emulatesCluster()) && n != 0:
		c.replyError(errClusterDB)
	case n < 0 || n >= int64(c.pool.Settings().Databases):
		c.replyError(errDBIndex)
	case int(n) != c.db && (!c.pipe.empty() || !c.awaitSettled()):
		return stallDrain
	case int(n) != c.db && c.watch != nil:
		c.replyError(errSelectWatch)
	default:
		c.db = int(n)
		c.replyOK()
	}
	return stallNone
}

func cmdPing(c *client, args [][]byte) stall {
	if c.is(modeSubscribed) && len(args) <= 2 {
		c.answer(func(dst []byte) []byte {
			dst = resp.AppendBulk(resp.AppendArray(dst, 2), "pong")
			return resp.AppendBulk(dst, append(args, nil)[1])
		})
		return stallNone
	}
	switch {
	case len(args) > 2:
		c.replyError(command.ErrArity(command.Lookup(args[0])))
	case c.refuseInOutage():
	case len(args) == 1:
		c.reply([]byte("+PONG\r\n"))
	default:
		c.answer(func(dst []byte) []byte { return resp.AppendBulk(dst, args[1]) })
	}
	return stallNone
}
