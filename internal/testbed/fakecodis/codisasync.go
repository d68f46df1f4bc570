package fakecodis

import (
	"context"
	"fmt"
	"math"
	"net"
	"strconv"
	"sync"
	"time"

	"sluice/internal/testbed/fake"
)

// batch is one asynchronous migration. Its client waits for it; other clients are served meanwhile, but writes
// through the wrapper to its keys, or to keys of their tags, are refused. Writes that come directly are done, and
// lost when the batch deletes the key. A synchronous move of such a key is not refused either, and the older copy
// of the batch may reach the target after it.
type batch struct {
	db    int
	addr  string
	begun time.Time
	keys  []string
	has   map[string]bool
	tags  map[uint32]bool

	cancel context.CancelFunc
	done   chan struct{}
	once   sync.Once
	reply  string // Complete; valid when done is closed.
}

func (b *batch) add(keys []string, slots int) {
	for _, key := range keys {
		if b.has[key] {
			continue
		}
		b.has[key] = true
		b.keys = append(b.keys, key)
		if _, crc, tagged := slotOf(key, slots); tagged {
			b.tags[crc] = true
		}
	}
}

func (b *batch) contains(key string, slots int) bool {
	if b.has[key] {
		return true
	}
	_, crc, tagged := slotOf(key, slots)
	return tagged && b.tags[crc]
}

func (k *codis) running(db int) *batch {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.batches[db]
}

// moving reports whether a key belongs to the batch that runs.
func (k *codis) moving(db int, key string) bool {
	b := k.running(db)
	return b != nil && b.contains(key, k.s.slots)
}

// batchSlot is SLOTSMGRT[TAG]SLOT-ASYNC host port timeoutms maxbulks maxbytes slot numkeys. It answers how many keys
// it moved and how many the slot had before they were deleted.
func (k *codis) batchSlot(byTag bool) func(context.Context, *client, []string) error {
	return func(ctx context.Context, c *client, args []string) error {
		n, reply := k.batchNumbers(args[1:], []number{{"slot", int64(k.s.slots - 1)}, {"numkeys", math.MaxInt32}})
		if reply != "" {
			c.Write(reply)
			return nil
		}
		slot, limit := int(n[4]), int(n[5])
		if limit == 0 {
			limit = 100
		}
		b := k.newBatch(c, args)
		for _, key := range k.index.keys(c.db, slot) {
			if len(b.keys) >= limit {
				break
			}
			b.add(k.index.together(c.db, key, byTag), k.s.slots)
		}
		return k.runBatch(ctx, c, b, batchTimeout(n[1]), func(moved int) string {
			return pairReply(moved, k.index.size(c.db, slot))
		})
	}
}

// batchKeys is SLOTSMGRT[TAG]ONE-ASYNC host port timeoutms maxbulks maxbytes key... It answers how many keys it moved.
func (k *codis) batchKeys(byTag bool) func(context.Context, *client, []string) error {
	return func(ctx context.Context, c *client, args []string) error {
		n, reply := k.batchNumbers(args[1:5], nil)
		if reply != "" {
			c.Write(reply)
			return nil
		}
		b := k.newBatch(c, args)
		for _, key := range args[5:] {
			b.add(k.index.together(c.db, key, byTag), k.s.slots)
		}
		return k.runBatch(ctx, c, b, batchTimeout(n[1]), fake.Int)
	}
}

type number struct {
	name    string
	highest int64
}

// batchNumbers reads port timeout maxbulks maxbytes and more.
func (k *codis) batchNumbers(args []string, more []number) ([]int64, string) {
	numbers := append([]number{
		{"port", 65535}, {"timeout", math.MaxInt32}, {"maxbulks", math.MaxInt32}, {"maxbytes", math.MaxInt32},
	}, more...)
	values := make([]int64, len(numbers))
	for i, number := range numbers {
		v, ok := integer(args[i])
		if !ok || v < 0 || v > number.highest || number.name == "port" && v == 0 {
			return nil, fmt.Sprintf("-ERR invalid value of %s (%s)\r\n", number.name, args[i])
		}
		values[i] = v
	}
	return values, ""
}

func batchTimeout(ms int64) time.Duration {
	if ms == 0 {
		return 30 * time.Second
	}
	return time.Duration(ms) * time.Millisecond
}

func (k *codis) newBatch(c *client, args []string) *batch {
	return &batch{
		db: c.db, addr: net.JoinHostPort(args[0], args[1]), done: make(chan struct{}),
		has: map[string]bool{}, tags: map[uint32]bool{},
	}
}

// runBatch moves the keys of b without the turn, and writes what answer makes of their number.
func (k *codis) runBatch(ctx context.Context, c *client, b *batch, timeout time.Duration, answer func(moved int) string) error {
	moving, cancel := context.WithCancel(ctx)
	defer cancel()
	b.cancel, b.begun = cancel, time.Now()
	k.mu.Lock()
	if k.batches[b.db] != nil {
		k.mu.Unlock()
		c.Write(CodisBusy)
		return nil
	}
	if len(b.keys) == 0 {
		k.mu.Unlock()
		c.Write(answer(0))
		return nil
	}
	k.batches[b.db] = b
	k.mu.Unlock()

	c.give()
	failure := k.moveBatch(moving, c, b, timeout)
	if err := ctxDead(ctx); err != nil {
		k.end(b, CodisConnectionClosed)
		return err
	}
	if err := c.take(ctx); err != nil {
		k.end(b, CodisConnectionClosed)
		return err
	}
	if failure != "" {
		if moving.Err() != nil {
			failure = CodisCanceled
		}
		k.end(b, failure)
		c.Write(failure)
		return nil
	}
	reply := answer(len(b.keys)) // Before the keys are deleted, as in codis-server.
	for _, key := range b.keys {
		k.s.run(b.db, "DEL", key)
	}
	k.end(b, reply)
	c.Write(reply)
	return nil
}

// end takes b off and gives its reply to those who wait for it.
func (k *codis) end(b *batch, reply string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	b.once.Do(func() {
		b.reply = reply
		close(b.done)
		if k.batches[b.db] == b {
			delete(k.batches, b.db)
		}
	})
}

// moveBatch copies the keys, each read in a turn of its own, and returns "" when the target has them all.
func (k *codis) moveBatch(ctx context.Context, c *client, b *batch, timeout time.Duration) string {
	t, err := dialTarget(ctx, b.addr, timeout)
	if err != nil {
		return CodisConnectionClosed
	}
	defer t.close()
	sent := [][]string{{"SELECT", strconv.Itoa(b.db)}}
	if err := t.send(sent, timeout); err != nil {
		return CodisConnectionClosed
	}
	for _, key := range b.keys {
		if err := k.s.Faults.Pass(ctx, AsyncRead, ""); err != nil {
			return CodisConnectionClosed
		}
		if err := c.take(ctx); err != nil {
			return CodisConnectionClosed
		}
		commands := k.s.copyCommands(b.db, key)
		c.give()
		if err := k.s.Faults.Pass(ctx, AsyncSend, ""); err != nil {
			return CodisConnectionClosed
		}
		if err := t.send(commands, timeout); err != nil {
			return CodisConnectionClosed
		}
		sent = append(sent, commands...)
	}
	if err := k.s.Faults.Pass(ctx, AsyncWait, ""); err != nil {
		return CodisConnectionClosed
	}
	for range sent {
		v, err := t.receive(timeout)
		if isTimeout(err) {
			return CodisTimeout
		}
		if err != nil || hasError(v) {
			return CodisConnectionClosed
		}
	}
	for range b.keys {
		if err := k.s.Faults.Pass(ctx, AsyncDelete, ""); err != nil {
			return CodisConnectionClosed
		}
	}
	return ""
}

// fence answers OK, or what the batch that runs answers when it ends.
func (k *codis) fence(ctx context.Context, c *client, _ []string) error {
	b := k.running(c.db)
	if b == nil {
		c.Write(fake.OK)
		return nil
	}
	c.give()
	if err := fake.Wait(ctx, b.done); err != nil {
		return err
	}
	if err := c.take(ctx); err != nil {
		return err
	}
	c.Write(b.reply)
	return nil
}

func (k *codis) cancel(_ context.Context, c *client, _ []string) error {
	b := k.running(c.db)
	if b == nil {
		c.Write(fake.Int(0))
		return nil
	}
	b.cancel()
	k.end(b, CodisCanceled)
	c.Write(fake.Int(1))
	return nil
}

// status has the shape of codis-server's; of its numbers only the target, the time and the keys are meant.
func (k *codis) status(_ context.Context, c *client, _ []string) error {
	b := k.running(c.db)
	if b == nil {
		c.Write("*-1\r\n")
		return nil
	}
	host, port, _ := net.SplitHostPort(b.addr)
	p, _ := strconv.Atoi(port)
	used := int(time.Since(b.begun).Milliseconds())
	iterator := fake.Array(fake.Bulk("keys"), fake.Int(len(b.keys)), fake.Bulk("timeout"), fake.Int(0),
		fake.Bulk("maxbulks"), fake.Int(0), fake.Bulk("maxbytes"), fake.Int(0),
		fake.Bulk("estimate_msgs"), fake.Int(len(b.keys)), fake.Bulk("removed_keys"), fake.Int(0),
		fake.Bulk("chunked_vals"), fake.Int(0), fake.Bulk("iterators"), fake.Int(len(b.keys)))
	c.Write(fake.Array(fake.Bulk("host"), fake.Bulk(host), fake.Bulk("port"), fake.Int(p),
		fake.Bulk("used"), fake.Int(1), fake.Bulk("timeout"), fake.Int(0), fake.Bulk("lastuse"), fake.Int(0),
		fake.Bulk("since_lastuse"), fake.Int(used), fake.Bulk("sending_msgs"), fake.Int(0),
		fake.Bulk("blocked_clients"), fake.Int(0), fake.Bulk("batched_iterator"), iterator))
	return nil
}
