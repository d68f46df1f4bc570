package fakecodis

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/resp"

	"sluice/internal/testbed/fake"
)

// moveOne is SLOTSMGRTONE and SLOTSMGRTTAGONE host port timeoutms key: it moves the key, or all keys of its tag, and
// answers how many went. It waits, with its thread, for the lock of synchronous moves, but not for the background.
func (p *pika) moveOne(ctx context.Context, c *client, args []string) error {
	addr, timeout, reply := p.moveTarget(args)
	if reply != "" {
		c.Write(reply)
		return nil
	}
	if !p.slotmigrate.Load() {
		c.Write("-ERR not set slotmigrate\r\n")
		return nil
	}
	key := args[3]
	_, crc, tagged := slotOf(key, p.s.slots)
	if tagged && len(p.index.ofTag(crc)) == 0 || !tagged && !p.s.data.DB(0).Exists(key) {
		c.Write(fake.Int(0))
		return nil
	}
	if err := p.lock(ctx); err != nil {
		return err
	}
	defer p.unlock()
	letter := p.index.letter(key)
	if !tagged && letter == 0 {
		reply := fake.Int(0) // The key vanished meanwhile.
		if p.version == Pika35 {
			reply = PikaTypeError
		}
		c.Write(reply)
		return nil
	}
	moved, detail, err := p.moveTag(ctx, addr, timeout, string(letter)+key)
	if err != nil {
		return err
	}
	if moved < 0 {
		c.Write(fake.Error("ERR " + detail))
		return nil
	}
	c.Write(fake.Int(moved))
	return nil
}

// moveSlot is SLOTSMGRTSLOT and SLOTSMGRTTAGSLOT host port timeoutms slot: it moves one key of the slot, with those
// of its tag, and answers how many went and how many are left. While another synchronous move runs it moves none.
func (p *pika) moveSlot(ctx context.Context, c *client, args []string) error {
	addr, timeout, reply := p.moveTarget(args)
	if reply != "" {
		c.Write(reply)
		return nil
	}
	slot, ok := integer(args[3])
	switch {
	case !ok:
		reply = replyNotInteger
	case slot < 0 || slot >= int64(p.s.slots):
		reply = fmt.Sprintf("-ERR invalid slot number %d\r\n", slot)
	case !p.slotmigrate.Load():
		reply = "-ERR not set slotmigrate\r\n"
	}
	if reply != "" {
		c.Write(reply)
		return nil
	}
	members := p.index.members(int(slot))
	if len(members) == 0 || !p.tryLock() {
		c.Write(pairReply(0, len(members)))
		return nil
	}
	defer p.unlock()
	moved, detail, err := p.moveTag(ctx, addr, timeout, members[0])
	if err != nil {
		return err
	}
	if moved < 0 {
		c.Write(fake.Error("ERR " + detail))
		return nil
	}
	c.Write(pairReply(moved, len(members)-moved))
	return nil
}

func (p *pika) lock(ctx context.Context) error {
	select {
	case p.syncLock <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fake.ErrDead
	}
}

func (p *pika) tryLock() bool {
	select {
	case p.syncLock <- struct{}{}:
		return true
	default:
		return false
	}
}

func (p *pika) unlock() { <-p.syncLock }

// moveTarget reads host port timeoutms. A timeout of 0 means 100 ms.
func (p *pika) moveTarget(args []string) (addr string, timeout time.Duration, reply string) {
	port, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		port = 0
	}
	if err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Sprintf("-ERR invalid port number %d\r\n", port)
	}
	if p.isSelf(args[0], port) {
		return "", 0, "-ERR destination address error\r\n"
	}
	ms, err := strconv.ParseInt(args[2], 10, 64)
	if err != nil {
		return "", 0, replyNotInteger
	}
	if ms < 0 {
		return "", 0, fmt.Sprintf("-ERR invalid timeout number %d\r\n", ms)
	}
	if ms == 0 {
		ms = 100
	}
	return net.JoinHostPort(args[0], args[1]), time.Duration(ms) * time.Millisecond, ""
}

// moveTag moves a member, or all members of its tag one by one. It returns how many went, or -1 and what went
// wrong; the first failure ends it, and what went before stays gone. p.syncLock is held.
func (p *pika) moveTag(ctx context.Context, addr string, timeout time.Duration, member string) (int, string, error) {
	members := []string{member}
	if _, crc, tagged := slotOf(member[1:], p.s.slots); tagged {
		members = p.index.ofTag(crc)
	}
	moved := 0
	for _, m := range members {
		n, detail, err := p.moveMember(ctx, addr, timeout, m)
		if err != nil {
			return 0, "", err
		}
		if n < 0 {
			return -1, detail, nil
		}
		moved += n
	}
	return moved, "", nil
}

// moveMember moves one key: 1 if it went, 0 if there was none, -1 and what went wrong.
func (p *pika) moveMember(ctx context.Context, addr string, timeout time.Duration, member string) (int, string, error) {
	key := member[1:]
	t, err := p.syncTarget(ctx, addr, timeout)
	if err != nil {
		return -1, "IOERR error or timeout connecting to the client", ctxDead(ctx)
	}
	if err := p.s.Faults.Pass(ctx, SyncRead, ""); err != nil {
		return 0, "", err
	}
	commands := p.syncCommands(member)
	if len(commands) == 0 {
		p.index.removeBoth(member)
		return 0, "", nil
	}
	if err := p.s.Faults.Pass(ctx, SyncSend, ""); err != nil {
		return 0, "", err
	}
	if err := t.send(commands, timeout); err != nil {
		p.dropTarget(addr)
		return -1, "Connect slots target, Send error: " + pikaStatus(err), ctxDead(ctx)
	}
	for range commands {
		v, err := t.receive(timeout)
		if err != nil {
			p.dropTarget(addr)
			return -1, "Connect slots target, Recv error: " + pikaStatus(err), ctxDead(ctx)
		}
		if !accepted(v) {
			// The replies behind it are not read: the next move on this connection takes them for its own.
			return -1, "something wrong with slots migrate, reply: " + strings.ToLower(v.String()), nil
		}
	}
	if err := p.s.Faults.Pass(ctx, SyncDelete, ""); err != nil {
		return 0, "", err
	}
	p.repl.logged(func() { p.cache.deleteBehind(key) }, "DEL", key)
	p.index.removeBoth(member)
	return 1, "", nil
}

// syncCommands returns what makes the target's key like ours; nothing if there is no such key.
func (p *pika) syncCommands(member string) [][]string {
	key := member[1:]
	v := p.s.read(0, key, shortScore)
	if letters[v.kind] != member[0] || v.expiring() {
		return nil
	}
	switch v.kind {
	case "stream":
		return [][]string{streamCommand(key, v)}
	case "string":
		if v.ttlMS > 0 {
			return [][]string{{"SET", key, v.text, "EX", seconds(v.ttlMS)}}
		}
		return v.add(key)
	}
	var commands [][]string
	if v.kind == "list" {
		commands = [][]string{{"DEL", key}}
	}
	commands = append(commands, v.add(key)...)
	if v.ttlMS > 0 {
		commands = append(commands, []string{"EXPIRE", key, seconds(v.ttlMS)})
	}
	return commands
}

// streamCommand puts all entries into one XADD. No server takes that for more than one, and none answers it with
// what Pika expects.
func streamCommand(key string, v value) []string {
	args := []string{"XADD", key}
	for _, e := range v.entries {
		args = append(args, e...)
	}
	return args
}

// seconds rounds down, as Pika does; what has less than one counts as expired.
func seconds(ms int64) string { return strconv.FormatInt(ms/1000, 10) }

func (v value) expiring() bool { return v.ttlMS > 0 && v.ttlMS < 1000 }

// accepted reports whether a reply is OK or a number, all that Pika takes from a target.
func accepted(v resp.Value) bool {
	if v.Type() == resp.Integer || strings.EqualFold(v.String(), "ok") {
		return true
	}
	_, err := strconv.ParseInt(v.String(), 10, 64)
	return err == nil
}

func pikaStatus(err error) string {
	switch {
	case isTimeout(err):
		return "Timeout: "
	case isEOF(err):
		return "IO error: Read null"
	}
	return "IO error: read failed caz Connection reset by peer"
}

// syncTarget returns the connection that synchronous moves share. p.syncLock is held.
func (p *pika) syncTarget(ctx context.Context, addr string, timeout time.Duration) (*target, error) {
	if t, ok := p.targets[addr]; ok {
		return t, nil
	}
	t, err := dialTarget(ctx, addr, timeout)
	if err == nil {
		p.targets[addr] = t
	}
	return t, err
}

func (p *pika) dropTarget(addr string) {
	if t, ok := p.targets[addr]; ok {
		t.close()
		delete(p.targets, addr)
	}
}
