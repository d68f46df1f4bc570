package proxy

import (
	"testing"
)

// A fenced pool refuses at once, also when the fence came before the first table, and what waits.
func TestFence(t *testing.T) {
	a := startFake(t, echoValue)
	p := startProxy(t, testModel, evenly(testModel, a.addr()), faultOptions(nil), holding(never))
	c := p.dial(t)
	c.want(bulkReply("k"), "GET", "k")
	p.pool.Fence(true)
	c.want("-"+errFenced+"\r\n", "GET", "k")
	c.want("-"+errFenced+"\r\n", "SET", "k", "v")
	c.want("-"+errFenced+"\r\n", "MGET", "k", "l", "m")
	if p.pool.Ready() {
		t.Error("a fenced pool is ready")
	}
	p.setTable(t, evenly(testModel, a.addr())) // The fence is not the table's.
	c.want("-"+errFenced+"\r\n", "GET", "k")
	p.pool.Fence(false)
	c.want(bulkReply("k"), "GET", "k")

	empty := startProxy(t, testModel, nil, faultOptions(nil), holding(never))
	held := empty.dial(t)
	held.request("GET", "k")
	empty.pool.Fence(true)
	held.wantReply("-" + errFenced + "\r\n")
	empty.setTable(t, evenly(testModel, a.addr()))
	held.want("-"+errFenced+"\r\n", "GET", "k")
	empty.pool.Fence(false)
	held.want(bulkReply("k"), "GET", "k")
}
