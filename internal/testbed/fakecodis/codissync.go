package fakecodis

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/tidwall/resp"

	"sluice/internal/testbed/fake"
)

// moveOne is SLOTSMGRTONE and SLOTSMGRTTAGONE host port timeoutms key. The server does nothing else meanwhile.
func (k *codis) moveOne(byTag bool) func(context.Context, *client, []string) error {
	return func(ctx context.Context, c *client, args []string) error {
		addr, timeout, reply := moveTarget(args)
		if reply != "" {
			c.Write(reply)
			return nil
		}
		moved, reply, err := k.moveKeys(ctx, c.db, addr, timeout, k.index.together(c.db, args[3], byTag))
		if err != nil {
			return err
		}
		if reply == "" {
			reply = fake.Int(moved)
		}
		c.Write(reply)
		return nil
	}
}

// moveSlot is SLOTSMGRTSLOT and SLOTSMGRTTAGSLOT host port timeoutms slot: it moves one key of the slot, with those
// of its tag, and answers how many went and how many are left.
func (k *codis) moveSlot(byTag bool) func(context.Context, *client, []string) error {
	return func(ctx context.Context, c *client, args []string) error {
		addr, timeout, reply := moveTarget(args)
		if reply != "" {
			c.Write(reply)
			return nil
		}
		slot, reply := k.slotNumber(args[3])
		if reply != "" {
			c.Write(reply)
			return nil
		}
		var keys []string
		if key, ok := k.index.any(c.db, slot); ok {
			keys = k.index.together(c.db, key, byTag)
		}
		moved, reply, err := k.moveKeys(ctx, c.db, addr, timeout, keys)
		if err != nil {
			return err
		}
		if reply == "" {
			reply = pairReply(moved, k.index.size(c.db, slot))
		}
		c.Write(reply)
		return nil
	}
}

// moveTarget reads host port timeoutms. A timeout of 0 means 100 ms.
func moveTarget(args []string) (addr string, timeout time.Duration, reply string) {
	if port, err := strconv.Atoi(args[1]); err != nil || port < 0 || port > 65535 {
		return "", 0, replyNotInteger
	}
	ms, err := strconv.ParseInt(args[2], 10, 32)
	if err != nil {
		return "", 0, replyNotInteger
	}
	if ms < 0 {
		return "", 0, fmt.Sprintf("-ERR invalid timeout = %d\r\n", ms)
	}
	if ms == 0 {
		ms = 100
	}
	return net.JoinHostPort(args[0], args[1]), time.Duration(ms) * time.Millisecond, ""
}

// moveKeys moves keys in one transaction and returns how many there were, or an error reply. An error is that of
// a dead server.
func (k *codis) moveKeys(
	ctx context.Context, db int, addr string, timeout time.Duration, keys []string,
) (int, string, error) {
	if len(keys) == 0 {
		return 0, "", nil
	}
	commands := [][]string{{"SELECT", strconv.Itoa(db)}, {"MULTI"}}
	for _, key := range keys {
		if err := k.s.Faults.Pass(ctx, SyncRead, ""); err != nil {
			return 0, "", err
		}
		commands = append(commands, k.s.copyCommands(db, key)...)
	}
	commands = append(commands, []string{"EXEC"})
	if err := k.s.Faults.Pass(ctx, SyncSend, ""); err != nil {
		return 0, "", err
	}
	if reply := k.transfer(ctx, addr, timeout, commands); reply != "" {
		return 0, reply, ctxDead(ctx)
	}
	for _, key := range keys {
		if err := k.s.Faults.Pass(ctx, SyncDelete, ""); err != nil {
			return 0, "", err
		}
		k.s.run(db, "DEL", key)
	}
	return len(keys), "", nil
}

// transfer has the target run commands and returns "", or the error reply of what went wrong.
func (k *codis) transfer(ctx context.Context, addr string, timeout time.Duration, commands [][]string) string {
	t := k.syncTarget[addr]
	if t == nil {
		var err error
		if t, err = dialTarget(ctx, addr, timeout); err != nil {
			return CodisWriteError
		}
		k.syncTarget[addr] = t
	}
	reply := exchange(t, timeout, commands)
	if reply != "" {
		t.close()
		delete(k.syncTarget, addr)
	}
	return reply
}

func exchange(t *target, timeout time.Duration, commands [][]string) string {
	if err := t.send(commands, timeout); err != nil {
		return CodisWriteError
	}
	for range commands {
		v, err := t.receive(timeout)
		if err != nil {
			return CodisReadError
		}
		if hasError(v) {
			return CodisRestoreError
		}
	}
	return ""
}

// hasError reports whether a reply, or one in it, is an error.
func hasError(v resp.Value) bool {
	if v.Type() == resp.Error {
		return true
	}
	for _, e := range v.Array() {
		if hasError(e) {
			return true
		}
	}
	return false
}

// ctxDead returns fake.ErrDead when the server was killed.
func ctxDead(ctx context.Context) error {
	if ctx.Err() != nil {
		return fake.ErrDead
	}
	return nil
}
