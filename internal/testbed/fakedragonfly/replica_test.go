package fakedragonfly

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/backend/dialect"
	"sluice/internal/testbed"
	"sluice/internal/testbed/fake"
	"sluice/router/lag"
)

// trio is a pair of masters and a replica of the first, which follows nobody yet.
type trio struct {
	pair
	r *Server
}

func startTrio(t *testing.T) trio {
	t.Helper()
	x := trio{pair{Start(t, Options{ID: "n1"}), Start(t, Options{ID: "n2"})}, Start(t, Options{ID: "n3"})}
	x.give(t, x.config(left, nil, right), x.b, x.a, x.r)
	return x
}

// config has the replica in the shard of a.
func (x trio) config(ofA []Range, moves []Move, ofB []Range) string {
	return JSON(Shard{Slots: ofA, Master: x.a.Node(), Replicas: []Node{x.r.Node()}, Migrations: moves}, Shard{Slots: ofB, Master: x.b.Node()})
}

func (x trio) give(t *testing.T, config string, to ...*Server) {
	t.Helper()
	for _, s := range to {
		connect(t, s.AdminAddr()).expect(t, "+OK\r\n", "DFLYCLUSTER", "CONFIG", config)
	}
}

func (x trio) parsed(t *testing.T, s *Server) lag.Replication {
	t.Helper()
	return dialect.ParseReplication([]byte(connect(t, s.Addr()).ask(t, "INFO", "replication")))
}

func reads(t *testing.T, s *Server, key, want string) {
	t.Helper()
	c := connect(t, s.Addr())
	testbed.Eventually(t, func() error {
		if got := c.ask(t, "GET", key); got != want {
			return fmt.Errorf("%s is %q, want %q", key, got, want)
		}
		return nil
	}, 10*time.Second)
}

var varies = regexp.MustCompile(`(?m)(port:|port=|replid:|slave_repl_offset:|seconds_ago:|lag=)[0-9a-f]+`)

// looksLike compares INFO with what the real server printed.
func looksLike(t *testing.T, s *Server, sample string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../../backend/dialect/testdata/replication", sample+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	want := varies.ReplaceAllString(string(text), "$1")
	c := connect(t, s.Addr())
	testbed.Eventually(t, func() error {
		_, info, _ := strings.Cut(strings.TrimSuffix(c.ask(t, "INFO", "replication"), "\r\n"), "\r\n")
		if got := varies.ReplaceAllString(info, "$1"); sortLines(got) != sortLines(want) {
			return fmt.Errorf("%s: got\n%s\nwant\n%s", sample, got, want)
		}
		return nil
	}, 10*time.Second)
}

// sortLines makes the order of lines no matter: the sample is written from a list of fields.
func sortLines(text string) string {
	lines := map[string]bool{}
	for line := range strings.Lines(text) {
		lines[line] = true
	}
	return fmt.Sprint(lines)
}

func TestReplicaLooksAsRecorded(t *testing.T) {
	x := startTrio(t)
	key := movingKeys(1)[0]
	x.a.Do("SET", key, "1")
	hold := x.r.Faults.Hold(ReplicaSync)
	c := connect(t, x.r.Addr())
	c.expect(t, "+OK\r\n", "REPLICAOF", "127.0.0.1", strconv.Itoa(x.a.Port()))
	arrived(t, hold)
	looksLike(t, x.r, "written-dragonfly-1.36-replica-full-sync")
	looksLike(t, x.a, "written-dragonfly-1.36-master-full-sync")
	c.expect(t, "-LOADING Dragonfly is loading the dataset in memory\r\n", "GET", key)
	hold.Release()
	looksLike(t, x.r, "written-dragonfly-1.36-replica")
	looksLike(t, x.a, "written-dragonfly-1.36-master-with-replica")
	reads(t, x.r, key, "$1\r\n1\r\n")
	c.expect(t, "-READONLY You can't write against a read only replica.\r\n", "SET", key, "2")
	host := "$9\r\n127.0.0.1\r\n"
	c.expect(t, "*4\r\n$5\r\nslave\r\n"+host+fake.Bulk(strconv.Itoa(x.a.Port()))+"$6\r\nonline\r\n", "ROLE")
	m := connect(t, x.a.Addr())
	m.expect(t, "*2\r\n$6\r\nmaster\r\n*1\r\n*3\r\n"+host+fake.Bulk(strconv.Itoa(x.r.Port()))+"$6\r\nonline\r\n", "ROLE")
	if a, b := x.parsed(t, x.a), x.parsed(t, x.r); a.ID != b.ID || a.Offset != -1 || b.Offset < 0 || !b.LinkUp || b.MasterAddr != x.a.Addr() {
		t.Errorf("%+v, %+v", a, b)
	}
}

func TestReplicaApplies(t *testing.T) {
	x := startTrio(t)
	x.r.ReplicaOf(x.a)
	looksLike(t, x.r, "written-dragonfly-1.36-replica")
	key := movingKeys(1)[0]
	c := connect(t, x.a.Addr())
	hold := x.r.Faults.Hold(ReplicaApply)
	before := x.parsed(t, x.r).Offset
	for _, line := range []string{"SET K 1", "DEL K", "RPUSH K 1 2 3", "LPOP K", "MULTI", "RPUSH K 4", "DEL K", "EXEC", "SADD K 1 2 3 4 5 6 7", "SPOP K"} {
		c.ask(t, strings.Fields(strings.ReplaceAll(line, "K", key))...)
	}
	arrived(t, hold)
	becomes(t, x.a, []string{"INFO", "replication"}, "state=online,lag=7\r\n") // The transaction is one.
	if r := x.parsed(t, x.r); r.Offset != before || !r.LinkUp {
		t.Errorf("%+v", r)
	}
	hold.Release()
	becomes(t, x.a, []string{"INFO", "replication"}, "lag=0\r\n")
	if a, b := x.a.Do("SMEMBERS", key).String(), x.r.Do("SMEMBERS", key).String(); a != b || a == "[]" {
		t.Errorf("%s, %s", a, b)
	}
	if r := x.parsed(t, x.r); r.Offset != before+7 {
		t.Errorf("%+v, was at %d", r, before)
	}
	c.expect(t, "+OK\r\n", "FLUSHALL")
	testbed.Eventually(t, func() error {
		if v := x.r.Do("EXISTS", key); v.Integer() != 0 {
			return fmt.Errorf("%s is there", key)
		}
		return nil
	}, 10*time.Second)
	x.r.ReplicaOf(nil)
	if r := x.parsed(t, x.r); r.Role != lag.Replica { // Its configuration says so until the next one.
		t.Errorf("%+v", r)
	}
	becomes(t, x.a, []string{"INFO", "replication"}, "connected_slaves:0\r\n")
}

func TestMasterHangsAndDies(t *testing.T) {
	x := startTrio(t)
	x.r.ReplicaOf(x.a)
	key := movingKeys(1)[0]
	x.a.Do("SET", key, "1")
	reads(t, x.r, key, "$1\r\n1\r\n")
	apply := x.r.Faults.Hold(ReplicaApply)
	x.a.Do("SET", key, "2")
	arrived(t, apply)
	x.a.Faults.Freeze()
	apply.Release()
	looksLike(t, x.r, "written-dragonfly-1.36-replica")
	c := connect(t, x.r.Addr())
	c.expect(t, "$1\r\n1\r\n", "GET", key)
	if info := c.ask(t, "INFO", "replication"); !strings.Contains(info, "master_last_io_seconds_ago:0\r\n") || !strings.Contains(c.ask(t, "ROLE"), "online") {
		t.Errorf("%s", info)
	}
	x.a.Faults.Thaw()
	reads(t, x.r, key, "$1\r\n2\r\n")

	x.a.Kill()
	looksLike(t, x.r, "written-dragonfly-1.36-replica-of-dead-master")
	if role := c.ask(t, "ROLE"); !strings.Contains(role, "connecting") {
		t.Errorf("%q", role)
	}
	c.expect(t, "$1\r\n2\r\n", "GET", key)
	if err := x.a.Restart(); err != nil {
		t.Fatal(err)
	}
	x.a.Do("SET", key, "3")
	reads(t, x.r, key, "$1\r\n3\r\n")
}

// TestReplicaOfASource: it knows nothing of the migration.
func TestReplicaOfASource(t *testing.T) {
	x := startTrio(t)
	x.r.ReplicaOf(x.a)
	key := movingKeys(1)[0]
	x.a.Do("SET", key, "1")
	reads(t, x.r, key, "$1\r\n1\r\n")
	x.give(t, x.config(left, []Move{x.b.MoveTo(moving...)}, right), x.b, x.a)
	becomes(t, x.a, statusCommand, "FINISHED")
	connect(t, x.b.Addr()).expect(t, "+OK\r\n", "SET", key, "2")
	moved := fmt.Sprintf("-MOVED %d %s\r\n", fake.SlotOf(key), x.b.Addr())
	connect(t, x.a.Addr()).expect(t, moved, "GET", key)
	c := connect(t, x.r.Addr())
	c.expect(t, "$1\r\n1\r\n", "GET", key)
	final := x.config(stays, nil, grown)
	x.give(t, final, x.b, x.a)
	reads(t, x.r, key, "$-1\r\n") // The flush of the source has come.
	x.give(t, final, x.r)
	c.expect(t, moved, "GET", key)
}

// TestMasterRestartsWhileARecordIsApplied: the place that the replica has come to is one in a journal that is gone.
func TestMasterRestartsWhileARecordIsApplied(t *testing.T) {
	x := startTrio(t)
	x.r.ReplicaOf(x.a)
	key := movingKeys(1)[0]
	looksLike(t, x.r, "written-dragonfly-1.36-replica")
	apply := x.r.Faults.HoldNext(ReplicaApply)
	x.a.Do("SET", key, "1")
	arrived(t, apply)
	fake.Ask(func(c *fake.Client) error { // Without a note, so that apply is seen to make one.
		x.r.data.Run(c.Peer, []string{"SET", key, "0"})
		return nil
	})
	x.r.repl.order.Lock() // What apply waits for, behind the last look at the master's life.
	apply.Release()
	testbed.Eventually(t, func() error {
		if len(x.r.data.Keys(fake.SlotOf(key))) == 0 {
			return fmt.Errorf("nothing is being applied")
		}
		return nil
	}, 10*time.Second)
	err := x.a.Restart()
	x.r.repl.order.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	x.give(t, x.config(left, nil, right), x.a)
	x.a.Do("SET", key, "2")
	reads(t, x.r, key, "$1\r\n2\r\n")
	connect(t, x.a.Addr()).expect(t, "$1\r\n2\r\n", "GET", key)
}
