package proxy

import "testing"

// A message on a shard channel goes to where its subscribers are, also out of a transaction, whose keys have to be there too.
func TestTransactionPublishesOnShardChannels(t *testing.T) {
	onEachTopology(t, func(t *testing.T, top *topology) {
		channels := top.keysOnEveryNode("shard", 1)
		s, c := top.subscriber(t, 3), top.dial(t)
		for _, channel := range channels {
			s.to("SSUBSCRIBE", channel)
			c.want("+OK\r\n", "MULTI")
			c.want("+QUEUED\r\n", "SPUBLISH", channel, "m")
			c.want("*1\r\n:1\r\n", "EXEC")
			s.wantReply(s.push("smessage", channel, "m"))
		}
		c.want("+OK\r\n", "MULTI")
		c.want("+QUEUED\r\n", "SPUBLISH", channels[0], "m")
		c.want("-"+errCrossSlot+"\r\n", "SET", channels[1], "v")
		c.want("-"+errExecAborted+"\r\n", "EXEC")
	})
}
