package fakecodis

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sluice/backend/dialect"
	"sluice/internal/testbed"
	"sluice/router/lag"
)

func replicationInfo(t *testing.T, s *Server) string {
	t.Helper()
	return connect(t, s).mustAsk(t, "INFO", "replication")
}

func parsed(t *testing.T, s *Server) lag.Replication {
	t.Helper()
	return dialect.ParseReplication([]byte(replicationInfo(t, s)))
}

// pikaPair starts a master with data and a Pika that does not follow it yet.
func pikaPair(t *testing.T) (master, replica *Server) {
	t.Helper()
	master, replica = start(t, Pika40, Options{}), start(t, Pika40, Options{})
	master.Do("SET", "base", "1")
	replica.Do("SET", "own", "1")
	return master, replica
}

// catchesUp waits until a replica has applied everything.
func catchesUp(t *testing.T, replica *Server) {
	t.Helper()
	testbed.Eventually(t, func() error {
		if !replica.CaughtUp() {
			return fmt.Errorf("not caught up:\n%s", replicationInfo(t, replica))
		}
		return nil
	}, 10*time.Second)
}

// says waits until the INFO of a server has all of these.
func says(t *testing.T, s *Server, parts ...string) {
	t.Helper()
	testbed.Eventually(t, func() error {
		info := replicationInfo(t, s)
		for _, part := range parts {
			if !strings.Contains(info, part) {
				return fmt.Errorf("no %q in\n%s", part, info)
			}
		}
		return nil
	}, 10*time.Second)
}

// changing is what differs between two recordings of the same state.
var changing = regexp.MustCompile(`(?m)(master_port:|port=|conn_fd=|binlog_offset=|slave_repl_offset:|safety_purge=)[0-9a-z]*( \d+)?|[0-9a-f]{50}`)

// looksLike compares INFO with a recording of the real server.
func looksLike(t *testing.T, s *Server, recording string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../../backend/dialect/testdata/replication", recording+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	want := changing.ReplaceAllString(string(text), "$1")
	testbed.Eventually(t, func() error {
		_, info, _ := strings.Cut(strings.TrimSuffix(replicationInfo(t, s), "\r\n"), "\r\n")
		if got := changing.ReplaceAllString(info, "$1"); got != want {
			return fmt.Errorf("%s: got\n%s\nwant\n%s", recording, got, want)
		}
		return nil
	}, 10*time.Second)
}

// TestPikaReplicaLooksAsRecorded goes through all states of a first sync.
func TestPikaReplicaLooksAsRecorded(t *testing.T) {
	master, replica := pikaPair(t)
	looksLike(t, master, "pika-4.0-master-alone")
	c := connect(t, replica)
	holds := map[Step]*Hold{}
	for _, step := range []Step{SlaveConnect, SlaveFullSync, SlaveCopy, SlaveIncr, SlaveReply} {
		holds[step] = replica.Faults.Hold(step)
	}
	c.expect(t, "+OK\r\n", "SLAVEOF", host, port(master))
	f := func(step Step, ofReplica, ofMaster, own string) {
		t.Helper()
		arrived(t, holds[step])
		looksLike(t, replica, ofReplica)
		looksLike(t, master, ofMaster)
		c.expect(t, own, "GET", "own")
		c.expect(t, "-ERR READONLY You can't write against a read only replica.\r\n", "SET", "own", "2")
		if r := parsed(t, replica); r.LinkUp {
			t.Errorf("%s: %+v", ofReplica, r)
		}
		holds[step].Release()
	}
	f(SlaveConnect, "pika-4.0-replica-no-connect", "pika-4.0-master-alone", "$1\r\n1\r\n")
	f(SlaveFullSync, "pika-4.0-replica-try-to-full-sync", "pika-4.0-master-not-syncing", "$1\r\n1\r\n")
	f(SlaveCopy, "pika-4.0-replica-syncing-full", "pika-4.0-master-full-syncing", "$1\r\n1\r\n")
	f(SlaveIncr, "pika-4.0-replica-try-to-incr-sync", "pika-4.0-master-full-syncing", "$-1\r\n")
	f(SlaveReply, "pika-4.0-replica-connecting", "pika-4.0-master-full-syncing", "$-1\r\n")
	looksLike(t, replica, "pika-4.0-replica-connected")
	looksLike(t, master, "pika-4.0-master-with-replica")
	c.expect(t, "$1\r\n1\r\n", "GET", "base")
	if a, b := parsed(t, master), parsed(t, replica); a.ID != b.ID || a.Offset != b.Offset || b.Unfit != "" || !b.LinkUp || b.MasterAddr != master.Addr() {
		t.Errorf("%+v, %+v", a, b)
	}
}

func TestPikaReplicaAppliesInOrder(t *testing.T) {
	master, replica := pikaPair(t)
	replica.ReplicaOf(master)
	says(t, replica, "master_link_status:up")
	c := connect(t, master)
	for _, line := range []string{
		"SET a 1", "INCR a", "RPUSH l 1 2 3", "LPOP l", "SADD s 1 2 3 4 5 6 7 8", "SPOP s", "HSET h f v", "ZADD z 1.5 m", "DEL base", "SET t 1",
		"EXPIRE t 1000", "MULTI", "SET in 1", "RPUSH l 9", "EXEC", "BLPOP l 1", "XADD x * f v", "MSET {q}1 1 {q}2 2",
	} {
		c.mustAsk(t, strings.Fields(line)...)
	}
	catchesUp(t, replica)
	same(t, master, replica)
	if n := replica.Do("TTL", "t").Integer(); n < 900 {
		t.Errorf("TTL %d", n)
	}
	// A transaction that is not run changes nothing.
	c.mustAsk(t, "WATCH", "a")
	master.Do("SET", "a", "5")
	for _, line := range []string{"MULTI", "SET a 6", "EXEC"} {
		c.mustAsk(t, strings.Fields(line)...)
	}
	// Nor does the replica keep what was moved away.
	target := start(t, Pika40, Options{})
	c.expect(t, ":1\r\n", tagOne(target, 1000, "h")...)
	catchesUp(t, replica)
	same(t, master, replica)
	if v := replica.Do("GET", "a").String(); v != "5" {
		t.Errorf("a is %s", v)
	}
}

// same compares all keys of two servers, with those of their indexes.
func same(t *testing.T, a, b *Server) {
	t.Helper()
	if ka, kb := a.data.DB(0).Keys(), b.data.DB(0).Keys(); strings.Join(ka, " ") != strings.Join(kb, " ") {
		t.Errorf("%q, %q", ka, kb)
	}
	for _, key := range a.Keys() {
		if va, vb := fmt.Sprint(a.pika.repl.fill(key)), fmt.Sprint(b.pika.repl.fill(key)); va != vb && !strings.Contains(va, "PEXPIRE") {
			t.Errorf("%s: %s, %s", key, va, vb)
		}
	}
}

// TestPikaReplicaBehind: what is received shows, what is applied does not.
func TestPikaReplicaBehind(t *testing.T) {
	master, replica := pikaPair(t)
	replica.ReplicaOf(master)
	catchesUp(t, replica)
	before := parsed(t, replica).Offset

	receive := replica.Faults.Hold(SlaveReceive)
	master.Do("SET", "a", "1")
	arrived(t, receive)
	says(t, master, "lag=(db0:69)")
	if r := parsed(t, replica); !r.LinkUp || r.Unfit != "" || r.Offset != before {
		t.Errorf("%+v", r)
	}
	apply := replica.Faults.Hold(SlaveApply)
	receive.Release()
	arrived(t, apply)
	says(t, master, "lag=(db0:0)")
	if r := parsed(t, replica); !r.LinkUp || r.Unfit != "" || r.Offset != parsed(t, master).Offset {
		t.Errorf("%+v", r)
	}
	if v := replica.Do("GET", "a"); !v.IsNull() || replica.CaughtUp() {
		t.Errorf("applied: %s", v)
	}
	// What it has not applied when it is killed it never gets.
	replica.Kill()
	says(t, master, "connected_slaves:0")
	apply.Release()
	if err := replica.Restart(); err != nil {
		t.Fatal(err)
	}
	master.Do("SET", "b", "1")
	has(t, of(replica), "b", "1")
	catchesUp(t, replica)
	if v := replica.Do("GET", "a"); !v.IsNull() {
		t.Errorf("a came back: %s", v)
	}
}

// TestPikaFullSyncReplacesWhatWaits: what was received before it is in the copy, and must not be applied on top.
func TestPikaFullSyncReplacesWhatWaits(t *testing.T) {
	master, replica := pikaPair(t)
	replica.ReplicaOf(master)
	catchesUp(t, replica)
	apply := replica.Faults.Hold(SlaveApply)
	master.Do("INCR", "n")
	arrived(t, apply)
	connect(t, replica).expect(t, "+OK\r\n", "SLAVEOF", host, port(master), "force")
	has(t, of(replica), "n", "1")
	says(t, replica, "db0:connected")
	apply.Release()
	master.Do("SET", "m", "1")
	has(t, of(replica), "m", "1")
	has(t, of(replica), "n", "1")
}

func TestPikaFullSyncThatFails(t *testing.T) {
	f := func(fault func(*Faults, bool), eligible bool) {
		t.Helper()
		master, replica := pikaPair(t)
		fault(replica.Faults, true)
		replica.ReplicaOf(master)
		says(t, replica, "db0:connected", fmt.Sprintf("election:%t", eligible))
		master.Do("SET", "new", "1")
		catchesUp(t, replica)
		if r := parsed(t, replica); r.Offset != parsed(t, master).Offset || !r.LinkUp || (r.Unfit == "") != eligible {
			t.Errorf("%+v", r)
		}
		if n, b := replica.Do("GET", "new"), replica.Do("GET", "base"); n.String() != "1" || !b.IsNull() {
			t.Errorf("new %s, base %s", n, b)
		}
		// It stays so over a restart, and ends with a full sync that succeeds.
		if err := replica.Restart(); err != nil {
			t.Fatal(err)
		}
		says(t, replica, "db0:connected", fmt.Sprintf("election:%t", eligible))
		fault(replica.Faults, false)
		c := connect(t, replica)
		c.expect(t, "-ERR wrong number of arguments for 'slaveof' command\r\n", "SLAVEOF", host, port(master), "-f")
		c.expect(t, "+OK\r\n", "SLAVEOF", host, port(master), "force")
		has(t, of(replica), "base", "1")
		says(t, replica, "db0:connected", "election:true")
	}
	f((*Faults).SkipFullSync, true)
	f((*Faults).CutFullSync, false)
}

func TestPikaMasterGoesAway(t *testing.T) {
	master, replica := pikaPair(t)
	replica.ReplicaOf(master)
	catchesUp(t, replica)
	// A hung master: nothing shows.
	master.Faults.Freeze()
	if r := parsed(t, replica); !r.LinkUp || r.Unfit != "" {
		t.Errorf("%+v", r)
	}
	replica.DropLink() // Until 20 s have passed.
	looksLike(t, replica, "pika-4.0-replica-try-to-incr-sync")
	master.Faults.Thaw()
	says(t, replica, "db0:connected")
	master.Kill()
	looksLike(t, replica, "pika-4.0-replica-no-connect")
	connect(t, replica).expect(t, "$1\r\n1\r\n", "GET", "base")
	if err := master.Restart(); err != nil {
		t.Fatal(err)
	}
	says(t, replica, "db0:connected")
	master.Do("SET", "base", "2")
	has(t, of(replica), "base", "2")

	// Promoted, while the old master writes on: it does not find back.
	master.Kill()
	replica.ReplicaOf(nil)
	connect(t, replica).expect(t, "+OK\r\n", "SET", "after", "1")
	if err := master.Restart(); err != nil {
		t.Fatal(err)
	}
	master.Do("SET", "diverged", "1")
	master.ReplicaOf(replica)
	looksLike(t, master, "pika-4.0-replica-error")
	c := connect(t, replica)
	c.expect(t, "-ERR already master of others, invalid usage\r\n", "SLAVEOF", host, "1")
	c = connect(t, master)
	c.expect(t, "-ERR The master ip:port and the slave ip:port are the same\r\n", "SLAVEOF", host, port(master))
	c.expect(t, "-ERR value is not an integer or out of range\r\n", "SLAVEOF", host, "x")
	c.expect(t, "$1\r\n1\r\n", "GET", "diverged")
	c.expect(t, "+OK\r\n", "SLAVEOF", host, port(replica), "force")
	has(t, of(master), "diverged", "")
	has(t, of(master), "after", "1")
}

func TestPikaChainAndRefusedIncrements(t *testing.T) {
	top, middle := pikaPair(t)
	last := start(t, Pika40, Options{})
	middle.ReplicaOf(top)
	catchesUp(t, middle)
	last.ReplicaOf(middle)
	catchesUp(t, last)
	says(t, middle, "# Replication(Master && SLAVE)", "role:master&&slave", "connected_slaves:1", "master_link_status:up")
	if r := parsed(t, middle); r.Role != lag.Replica || len(r.Replicas) != 1 || r.Replicas[0].Addr != last.Addr() || !r.Replicas[0].Online {
		t.Errorf("%+v", r)
	}
	top.Do("SET", "a", "1")
	has(t, of(last), "a", "1")
	last.Faults.RefuseIncrements(true)
	last.DropLink()
	looksLike(t, last, "pika-4.0-replica-error")
	connect(t, last).expect(t, "+OK\r\n", "SLAVEOF", "no", "one")
	says(t, last, "# Replication(MASTER)", "connected_slaves:0", "election:true")
	connect(t, last).expect(t, "+OK\r\n", "SET", "a", "2")
	// Nobody is there.
	last.pika.repl.follow("127.0.0.1:1", false)
	says(t, last, "db0:no_connect", "master_port:1\r\n")
}
