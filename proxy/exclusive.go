package proxy

import (
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	"sluice/backend"
	"sluice/proxy/command"
	"sluice/proxy/hold"
	"sluice/router"
)

// An exclusive request is a request that takes more than to be sent on a shared connection: a transaction is
// several requests that must not be parted, a blocking command and WATCH need a connection of their own. It runs
// alone (beginAlone), as a retry: that finds the node, waits in front of locks and for masters, follows redirects,
// has keys of a moving slot moved, and knows which replies prove that nothing was run. The exclusive request does
// the sending, and hands the retry what comes of it, with Reply and Fail and tagDirect.
type exclusive interface {
	// send takes the request to a node, behind ASKING if ask is set. It may be called again, after a reply that proves
	// that nothing was run. A refusal is the answer when it can't be sent.
	send(node *backend.Node, ask bool) (refusal string)
	// abandon is called when the client has gone, or was answered by the retry itself.
	abandon()
}

// runExclusive begins an exclusive request. keys are those that do not stand in raw as a request's keys do, and
// must stay valid; bind makes the exclusive request.
func (c *client) runExclusive(
	cmd *command.Command, k keySlots, raw []byte, keys [][]byte, bind func(d *retry) exclusive,
) stall {
	if !c.pipe.empty() {
		return stallDrain
	}
	c.alone = true
	seq := c.beginSlots(cmd, k)
	d := c.newRetry(c, seq, seq, k.slot, raw)
	d.slots = slices.Clone(k.all)
	if len(d.keys) == 0 {
		d.keys = keys
		d.noteKeys(1)
	}
	d.exclusive = bind(d)
	c.addRetry(d)
	return stallNone
}

// failed hands a failure to the retry of an exclusive request. The connection may be closed already, and f.Request
// gone with it.
func (d *retry) failed(f backend.Failure) {
	if f.Request != nil {
		f.Request = d.raw
	}
	d.Fail(tagDirect, f)
}

// notLeased is called with what lease has said when it gave no connection. It returns the answer, "" while there is
// none.
func (d *retry) notLeased(node *backend.Node, refusal string, away error) string {
	if away != nil {
		d.unreached(node, away)
	}
	return refusal
}

// unreached is called when the request was not sent, because no connection of its own to the server came up: it is held
// then, like any other that its server does not serve. Where nothing is held it waits as long as it would on the shared
// connection, and not at all for a server that refuses Sluice.
func (d *retry) unreached(node *backend.Node, err error) {
	c := d.client
	if x, ok := d.exclusive.(*blocking); ok && x.timedOut() {
		return
	}
	maxWait := c.pool.Settings().Hold.MaxWait
	patience := max(node.Options().RequestTimeout, maxWait)
	over := !d.hold.active && c.loop.now-c.pipe.at(d.seq).start >= int64(patience)
	if c.loop.stopping || over || maxWait == 0 && errors.Is(err, backend.ErrGreeting) {
		d.give(unavailableBecause(node, err))
		return
	}
	d.state = retryIdle // And it stays where a redirect has sent it: whoever did so would do it again.
	if d.wait(hold.NoMaster, fmt.Sprintf("is not served: backend %s: %v", node.Addr, err), true) {
		c.runRetries()
	}
}

// someSlot is a slot for a request that has no key and may run anywhere: of all requests with the same mark the
// same, while the slots have the same owners.
func (c *client) someSlot(mark []byte) router.Slot {
	slots := c.pool.Model.Slots()
	first := int(crc32.ChecksumIEEE(mark) % uint32(slots))
	v := c.pool.view.Load()
	if v == nil {
		return router.Slot(first)
	}
	for i := range slots { // Slots that nobody owns are passed over.
		if slot := router.Slot((first + i) % slots); v.table.Owner(slot) != nil {
			return slot
		}
	}
	return router.Slot(first)
}
