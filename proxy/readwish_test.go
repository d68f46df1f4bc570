package proxy

import (
	"testing"

	"sluice/proxy/resp"
)

// Rules for reads that a connection, a user or new settings bring.

func TestWishesOfAConnection(t *testing.T) {
	x := startReads(t, testModel, 1, 1, func(_ *Config, pool *PoolConfig) {
		pool.Users = []User{
			{Name: "default", Passwords: passwords("p")},
			{Name: "master", Passwords: passwords("p"), Reads: &ReadRules{Policy: ReadMaster, MaxLag: anyLag}},
			{Name: "strict", Passwords: passwords("p"), Reads: &ReadRules{Policy: ReadReplica, MaxLag: anyLag}},
		}
	})
	m, r := x.m[0], x.r[0][0]
	x.ready(r)
	c := x.p.dial(t)
	wish := func(want, attribute, value string) { t.Helper(); c.want(want, "CLIENT", "SETINFO", attribute, value) }
	const ok = "+OK\r\n"
	c.want(ok, "AUTH", "p")
	c.want(r.at("k"), "GET", "k")
	wish(ok, "sluice-reads", "master")
	c.want(m.at("k"), "GET", "k")
	wish(ok, "SLUICE-READS", "Prefer-Replica")
	c.want(r.at("k"), "GET", "k")
	wish(ok, "sluice-max-lag", "1ns")
	c.want(m.at("k"), "GET", "k")
	wish(ok, "sluice-reads", "replica")
	c.want("-"+noReader(x.p.pool.Table().Groups[0])+"\r\n", "GET", "k")
	wish(ok, "sluice-max-lag", "1h")
	wish(ok, "sluice-consistency", "read-your-writes")
	c.want(ok, "SET", "k", "v")
	c.want("-"+noReader(x.p.pool.Table().Groups[0])+"\r\n", "GET", "k")
	wish(ok, "sluice-reads", "nearest")
	wish(ok, "sluice-consistency", "monotonic")
	wish(ok, "sluice-consistency", "eventual")
	wish("-ERR sluice-reads is master, prefer-replica, replica or nearest\r\n", "sluice-reads", "slave")
	wish("-ERR sluice-consistency is eventual, monotonic or read-your-writes\r\n", "sluice-consistency", "strong")
	for _, value := range []string{"", "0", "-1s", "5", "soon", "0s"} {
		wish("-ERR sluice-max-lag is a duration above 0 with a unit, such as 200ms\r\n", "sluice-max-lag", value)
	}
	wish("-ERR Sluice knows sluice-reads, sluice-consistency and sluice-max-lag\r\n", "sluice-zone", "a")
	wish("-ERR Unrecognized option 'sluice'\r\n", "sluice", "a")
	wish(ok, "sluice-reads", "master")
	c.want("+RESET\r\n", "RESET")
	c.want(ok, "AUTH", "p")
	x.prove(r)
	c.want(r.at("k"), "GET", "k")

	// Users have rules of their own, and a wish stands above them.
	c.want(ok, "AUTH", "master", "p")
	c.want(m.at("k"), "GET", "k")
	c.want(ok, "AUTH", "strict", "p")
	c.want(r.at("k"), "GET", "k")
	x.disprove(r)
	c.want("-"+noReader(x.p.pool.Table().Groups[0])+"\r\n", "GET", "k")
	wish(ok, "sluice-reads", "prefer-replica")
	c.want(m.at("k"), "GET", "k")
	x.prove(r)
	c.want(ok, "AUTH", "master", "p")
	c.want(r.at("k"), "GET", "k")
	c.want("+RESET\r\n", "RESET")
	c.want("-NOAUTH Authentication required.\r\n", "GET", "k")
	x.wantNothingCounted()
}

// Where nobody reads from replicas they are not watched, and can't be wished for.
func TestReplicasThatAreNotWatched(t *testing.T) {
	x := startReads(t, testModel, 1, 1, reading(ReadMaster, Eventual))
	c := x.p.dial(t)
	c.want("-ERR replicas of pool test are not watched: set policy in [pool.reads]\r\n", "CLIENT", "SETINFO", "sluice-reads", "nearest")
	c.want("+OK\r\n", "CLIENT", "SETINFO", "sluice-reads", "master")
	c.want("+OK\r\n", "CLIENT", "SETINFO", "sluice-consistency", "monotonic")
	c.want(x.m[0].at("k"), "GET", "k")
	s := *x.p.pool.Settings()
	s.Users = []User{{Name: "default", Passwords: passwords("p"), Reads: &ReadRules{Policy: ReadPreferReplica, MaxLag: anyLag}}}
	x.p.pool.SetSettings(s)
	x.ready(x.r[0][0])
	c.want(x.m[0].at("k"), "GET", "k") // It has not said who it is.
	c.want("+OK\r\n", "AUTH", "p")
	c.want(x.m[0].at("k"), "GET", "k") // What it has asked for stays.
	c.want("+RESET\r\n", "RESET")
	c.want("+OK\r\n", "AUTH", "p")
	x.prove(x.r[0][0])
	c.want(x.r[0][0].at("k"), "GET", "k")
}

// Settings change for those who are connected, there and back, with commands in flight on both sides.
func TestSettingsChangeForConnectedClients(t *testing.T) {
	x := startReads(t, testModel, 1, 1, reading(ReadMaster, Eventual))
	m, r := x.m[0], x.r[0][0]
	a, b, d := x.inBucket(0, 1), x.inBucket(0, 2), x.inBucket(0, 3)
	c := x.p.dial(t)
	set := func(policy ReadPolicy, consistency Consistency) {
		s := *x.p.pool.Settings()
		s.Reads.Policy, s.Reads.Consistency = policy, consistency
		x.p.pool.SetSettings(s)
		x.p.visitClients(x.p.ctx, x.p.pool, (*client).renew) // Now, and not at its next request.
	}
	x.ready(r)
	c.want(m.at(a), "GET", a)
	set(ReadPreferReplica, Monotonic)
	c.want(m.at(a), "GET", a) // What was read before counts, although nobody took notes.
	x.prove(r)
	c.want(r.at(a), "GET", a)
	thawM, thawR := m.freeze(), r.freeze()
	c.send(string(resp.AppendCommand(resp.AppendCommand(nil, "SET", a, "v"), "GET", b)))
	m.await(t, 1, "SET "+a+" v")
	r.await(t, 1, "GET "+b)
	for i, policy := range []ReadPolicy{ReadMaster, ReadReplica, ReadNearest, ReadMaster, ReadPreferReplica} {
		set(policy, Consistency(i%3))
	}
	set(ReadPreferReplica, ReadYourWrites)
	x.prove(r)
	c.request("GET", a) // Behind the write.
	c.request("GET", d)
	m.await(t, 2, "GET "+a)
	r.await(t, 1, "GET "+d)
	thawM()
	thawR()
	c.wantReply("+OK\r\n")
	c.wantReply(r.at(b))
	c.wantReply(m.at(a))
	c.wantReply(r.at(d))
	c.want(m.at(a), "GET", a)
	x.prove(r)
	c.want(r.at(a), "GET", a)
	set(ReadMaster, Eventual)
	c.want(m.at(a), "GET", a)
	x.wantNothingCounted()
	x.onClient(func(c *client) {
		if c.reads != nil {
			t.Error("who reads from the master alone has rules")
		}
	})
}

// Who asks for other rules while requests are in flight keeps the order of those.
func TestRulesThatChangeInTheMiddle(t *testing.T) {
	x := startReads(t, testModel, 1, 1)
	m, r := x.m[0], x.r[0][0]
	x.ready(r)
	a, b := x.inBucket(0, 1), x.inBucket(0, 2)
	c := x.p.dial(t)
	set := func(policy ReadPolicy, consistency Consistency) {
		s := *x.p.pool.Settings()
		s.Reads.Policy, s.Reads.Consistency = policy, consistency
		x.p.pool.SetSettings(s)
		x.p.visitClients(x.p.ctx, x.p.pool, (*client).renew) // Now, and not at its next request.
	}
	// From replicas to the master: the write behind a read at a replica waits.
	thaw := r.freeze()
	c.request("GET", a)
	r.await(t, 1, "GET "+a)
	set(ReadMaster, Eventual)
	c.request("GET", b)
	m.await(t, 1, "GET "+b)
	c.request("SET", a, "v")
	x.awaitStalled()
	x.wantCount(m, 0, "SET "+a+" v")
	thaw()
	c.wantReply(r.at(a))
	c.wantReply(m.at(b))
	c.wantReply("+OK\r\n")
	c.want(m.at(a), "GET", a)
	x.wantNothingCounted()

	// The same by the client's own wish, while others read from replicas as before.
	set(ReadPreferReplica, Eventual)
	x.prove(r)
	thaw = r.freeze()
	c.request("GET", a)
	r.await(t, 2, "GET "+a)
	c.request("CLIENT", "SETINFO", "sluice-reads", "master")
	c.request("GET", b)
	m.await(t, 2, "GET "+b)
	c.request("MSET", a, "v", b, "v")
	x.awaitStalled()
	x.wantCount(m, 0, "mset "+a+" v "+b+" v")
	thaw()
	c.wantReply(r.at(a))
	c.wantReply("+OK\r\n")
	c.wantReply(m.at(b))
	c.wantReply("+OK\r\n")
	c.want(m.at(b), "GET", b)
	c.want("+RESET\r\n", "RESET")
	x.wantNothingCounted()

	// To replicas, with writes in flight, for a client that had none before and for one that had.
	for i := range 2 {
		set(ReadMaster, Eventual)
		if i == 1 {
			c = x.p.dial(t)
			c.want("+PONG\r\n", "PING") // It is there.
		}
		thaw = m.freeze()
		c.request("SET", a, "w")
		c.request("MSET", a, "w", b, "w")
		m.await(t, i+1, "mset "+a+" w "+b+" w")
		x.prove(r)
		set(ReadPreferReplica, ReadYourWrites)
		before, other := r.count("GET "+b), x.inBucket(0, 3+i)
		c.request("GET", b)
		c.request("SET", other, "v")
		m.await(t, 1, "SET "+other+" v")
		x.wantCount(r, before, "GET "+b)
		x.prove(r) // Newer than the change and older than the acknowledgement.
		thaw()
		c.wantReply("+OK\r\n")
		c.wantReply("+OK\r\n")
		c.wantReply(m.at(b))
		c.wantReply("+OK\r\n")
		c.want(m.at(b), "GET", b)
		x.prove(r)
		c.want(r.at(b), "GET", b)
		x.wantNothingCounted()
	}
}
